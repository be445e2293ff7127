"""Mirroring a remote root: a real SSH server, real files on both sides."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from runicorn_remote.mirror.state import MirrorBusy, MirrorState
from runicorn_remote.mirror.units import SMALL_BYTES
from tests.plugins.remote.mirroring import RUN, mirrored, mirroring, wait_for_scans, write_run
from tests.serving import wait_until
from tests.ssh_server import sshd_with_script
from tests.sshd import Sshd


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    root = tmp_path / "a 'remote' root; $(touch oops)"
    root.mkdir()
    return root


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


def test_every_wanted_file_arrives_with_its_bytes_and_time(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote)
    (run / "media").mkdir()
    (run / "media" / "1_a.png").write_bytes(os.urandom(700_000))
    (run / ".deleted").write_text("{}")
    (run / "odd \n name é.txt").write_text("not acceptable: a control character")
    (run / "events.jsonl.lock").touch()
    (remote / "artifacts" / "model" / "net" / "v1" / "files").mkdir(parents=True)
    (remote / "artifacts" / "model" / "net" / "v1" / "files" / "w.bin").write_bytes(os.urandom(3_000_000))
    (remote / "artifacts" / ".dedup" / "ab").mkdir(parents=True)
    (remote / "artifacts" / ".dedup" / "ab" / "abcd").write_text("pool")
    (remote / "runicorn.db").write_text("index")
    (remote / ".experiments_metadata.json").write_text("{}")
    write_run(remote, "runs/legacy")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task, 3)
        expected = {
            path: data
            for path, data in mirrored(remote).items()
            if ".dedup" not in path and "runicorn.db" not in path and "\n" not in path
        }
        wait_until(lambda: mirrored(local) == expected, "equal trees")
    for path in expected:
        assert (local / path).stat().st_mtime_ns == (remote / path).stat().st_mtime_ns
    assert not list(local.rglob("*.part"))
    assert not (remote.parent / "oops").exists()


def test_lines_are_appended_and_a_torn_one_waits(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote, status="running")
    copy = local / RUN / "events.jsonl"
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        inode = copy.stat().st_ino
        before = copy.read_bytes()
        with (run / "events.jsonl").open("a") as file:
            file.write('{"ts": 1.0, "type": "metrics", "data": {"loss": 1.0, "global_step": 9}}\n{"ts": 2.0, "ty')
            file.flush()
            wait_until(lambda: copy.read_bytes() != before)
            assert copy.read_bytes().endswith(b'"global_step": 9}}\n')
            file.write('pe": "metrics", "data": {}}\n')
        wait_until(lambda: copy.read_bytes() == (run / "events.jsonl").read_bytes())
        assert copy.stat().st_ino == inode
        assert task.report().stats.appended_bytes > 0


@pytest.mark.parametrize("content", ["longer" * 50, "s", "y" * 5])
def test_a_side_file_that_is_rewritten_arrives(sshd: Sshd, remote: Path, local: Path, content: str) -> None:
    path = write_run(remote) / "status.json"
    path.write_text(json.dumps({"status": "x" * 5}))  # one of the others has as many bytes
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        path.write_text(json.dumps({"status": content}))
        wait_until(lambda: (local / RUN / "status.json").read_bytes() == path.read_bytes())


def test_a_file_rewritten_with_its_old_time_and_another_size_arrives(sshd: Sshd, remote: Path, local: Path) -> None:
    path = write_run(remote) / "status.json"
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        stat = path.stat()
        path.write_text('{"status": "another one"}')
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        wait_until(lambda: (local / RUN / "status.json").read_bytes() == path.read_bytes())


def test_a_truncated_and_rewritten_stream_arrives_without_duplicates(sshd: Sshd, remote: Path, local: Path) -> None:
    path = write_run(remote, events=50) / "events.jsonl"
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        path.write_text('{"ts": 5.0, "type": "metrics", "data": {"loss": 0.5, "global_step": 1}}\n' * 80)
        wait_until(lambda: (local / RUN / "events.jsonl").read_bytes() == path.read_bytes())


@pytest.mark.slow(4)
def test_half_written_json_is_never_seen_and_broken_json_arrives_in_the_end(
    sshd: Sshd, remote: Path, local: Path
) -> None:
    path = write_run(remote) / "summary.json"
    with mirroring(sshd, remote, local) as task:
        path.write_text('{"acc": 0.9')
        wait_for_scans(task, 3)
        assert not (local / RUN / "summary.json").exists()
        wait_until((local / RUN / "summary.json").exists, "a broken source", timeout_s=40)


def test_half_of_a_large_json_file_is_never_seen(sshd: Sshd, remote: Path, local: Path) -> None:
    path = write_run(remote) / "summary.json"
    content = json.dumps({f"metric {number}": number for number in range(40_000)})
    assert len(content) > SMALL_BYTES
    path.write_text(content)
    copy = local / RUN / "summary.json"
    with mirroring(sshd, remote, local) as task:
        wait_until(copy.exists)
        for cut in (100, 50):  # other bytes each time: a source that does not change is taken for a broken one
            path.write_text(content[:-cut])
            wait_for_scans(task, 3)
            assert copy.read_text() == content
        path.write_text(content + "\n")
        wait_until(lambda: copy.read_text() == content + "\n", "the whole file", timeout_s=30)


def test_links_are_followed_inside_of_the_root_only(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote)
    (remote.parent / "secret").write_text("secret")
    (run / "inside").symlink_to(run / "logs.txt")
    (run / "outside").symlink_to(remote.parent / "secret")
    (run / "dangling").symlink_to("nowhere")
    (run / "directory").symlink_to(run)
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert (local / RUN / "inside").read_text() == "15:30:45 | hello\n"
        assert not (local / RUN / "inside").is_symlink()
        assert {path.name for path in (local / RUN).iterdir()} == {
            "inside", "meta.json", "status.json", "events.jsonl", "logs.txt"
        }  # fmt: skip
        assert task.report().last_error == ""


def test_a_local_link_is_not_followed(sshd: Sshd, remote: Path, local: Path) -> None:
    write_run(remote)
    (local / "vision").mkdir(parents=True)
    elsewhere = local.parent / "elsewhere"
    elsewhere.mkdir()
    (local / "vision" / "resnet").symlink_to(elsewhere)
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert task.report().stats.failed_files > 0
    assert list(elsewhere.rglob("*")) == []


def test_local_runs_and_other_sources_are_kept_apart(sshd: Sshd, remote: Path, local: Path, tmp_path: Path) -> None:
    write_run(remote)
    write_run(local, events=1)
    before = mirrored(local)
    other = tmp_path / "other"
    write_run(other, "vision/other/runs/x", events=2)
    write_run(other, events=7)
    with mirroring(sshd, remote, local) as first, mirroring(sshd, other, local) as second:
        wait_for_scans(first)
        wait_for_scans(second)
        assert (first.report().conflicts, second.report().conflicts) == (1, 1)
        assert mirrored(local) == before | {path: data for path, data in mirrored(other).items() if "/other/" in path}
        aside = [local / ".mirrors" / task.source.key / "tree" for task in (first, second)]
        assert [len((tree / RUN / "events.jsonl").read_bytes().splitlines()) for tree in aside] == [3, 7]


def test_what_is_gone_there_stays_here_but_a_restore_arrives(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote)
    (run / ".deleted").write_text("{}")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert (local / RUN / ".deleted").exists()
        (run / ".deleted").unlink()
        (run / "logs.txt").unlink()
        wait_until(lambda: not (local / RUN / ".deleted").exists())
        assert (local / RUN / "logs.txt").exists()


def test_a_run_that_is_purged_there_stays_in_the_recycle_bin_here(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote)
    write_run(remote, "vision/resnet/runs/other")
    (run / ".deleted").write_text("{}")
    with mirroring(sshd, remote, local) as task:
        wait_until((local / RUN / ".deleted").exists)
        wait_for_scans(task)
        shutil.rmtree(run)
        wait_for_scans(task, 3)
        assert (local / RUN / ".deleted").exists()
        assert (local / RUN / "meta.json").exists()


def test_after_a_restart_nothing_unchanged_is_transferred(sshd: Sshd, remote: Path, local: Path) -> None:
    for number in range(20):
        write_run(remote, f"vision/resnet/runs/{number}")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert task.report().stats.copied_files == 80
    (local / "vision/resnet/runs/3/logs.txt").unlink()
    (local / "vision/resnet/runs/4/meta.json").write_text("{}")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert task.report().stats.copied_files == 2
        assert mirrored(local) == mirrored(remote)


def test_a_second_process_cannot_mirror_the_same_source(sshd: Sshd, remote: Path, local: Path) -> None:
    with mirroring(sshd, remote, local) as task, pytest.raises(MirrorBusy):
        MirrorState(local, task.source.key)


def test_a_server_that_runs_no_commands_works(tmp_path: Path, ssh_directory: Path, remote: Path, local: Path) -> None:
    check_on(Sshd(home=tmp_path / "restricted", extra_config=["ForceCommand internal-sftp"]), remote, local)


def test_a_login_script_that_prints_does_no_harm(
    tmp_path: Path, ssh_directory: Path, remote: Path, local: Path
) -> None:
    check_on(with_login_script(tmp_path, "echo welcome; printf RN; echo something >&2"), remote, local)


@pytest.mark.parametrize("find", [None, "echo find: unrecognized: -printf >&2; exit 1"])
def test_a_server_without_find_or_with_one_that_knows_less_works(
    tmp_path: Path, ssh_directory: Path, remote: Path, local: Path, find: str | None
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if find is not None:
        (programs / "find").write_text(f"#!/bin/sh\n{find}\n")
        (programs / "find").chmod(0o755)
    check_on(with_login_script(tmp_path, f"PATH={programs}"), remote, local)


def with_login_script(directory: Path, script: str) -> Sshd:
    """A server whose account runs `script` before each command, but not before SFTP."""
    script = (
        'case "$SSH_ORIGINAL_COMMAND" in *sftp-server) exec "$SSH_ORIGINAL_COMMAND";; esac\n'
        f"{script}\n"
        'eval "$SSH_ORIGINAL_COMMAND"\n'
    )
    return sshd_with_script(directory, directory / "home", script)


def check_on(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote, status="running")
    with sshd:
        with mirroring(sshd, remote, local) as task:
            wait_for_scans(task)
            assert mirrored(local) == mirrored(remote)
            with (run / "logs.txt").open("a") as file:
                file.write("15:30:46 | again\n")
            wait_until(lambda: mirrored(local) == mirrored(remote))
        assert sshd.wait_idle()


def test_a_killed_server_is_found_again_and_nothing_is_doubled(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote, status="running")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        sshd.kill()
        wait_until(lambda: task.report().state == "reconnecting")
        assert not task.report().alive
        assert task.report().last_error
        with (run / "events.jsonl").open("a") as file:
            file.write('{"ts": 1.0, "type": "metrics", "data": {"loss": 1.0, "global_step": 9}}\n')
        sshd.start()
        wait_until(lambda: mirrored(local) == mirrored(remote), timeout_s=40)
        wait_until(lambda: task.report().state == "watching", timeout_s=40)
        assert task.report().last_error == ""


def test_a_changed_host_key_ends_the_task(sshd: Sshd, remote: Path, local: Path) -> None:
    write_run(remote)
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        sshd.change_host_key()
        wait_until(lambda: task.report().state == "error", timeout_s=40)
        assert "does not match" in task.report().last_error


def test_stopping_during_a_large_copy_leaves_nothing_half_written(sshd: Sshd, remote: Path, local: Path) -> None:
    write_run(remote)
    (remote / RUN / "large.bin").write_bytes(os.urandom(200 << 20))
    with mirroring(sshd, remote, local) as task:
        wait_until(lambda: list(local.rglob("*.part")), "the copy to begin")
        started = time.monotonic()
        task.stop()
        took_s = time.monotonic() - started
        after = mirrored(local)
        assert not list(local.rglob("*.part"))
        assert task.report().state == "stopped"
        assert took_s < 3  # who waits in vain for a thread of the task waits for 5 s
        with (remote / RUN / "events.jsonl").open("a") as file:
            file.write('{"ts": 1.0, "type": "metrics", "data": {"loss": 1.0, "global_step": 9}}\n')
        write_run(remote, "vision/resnet/runs/later")
        time.sleep(2)  # a task that goes on looks four times meanwhile
        assert mirrored(local) == after
        assert not list(local.rglob("*.part"))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(task.task_id)]


def test_a_stop_does_not_wait_for_a_host_that_says_nothing(sshd: Sshd, remote: Path, local: Path) -> None:
    write_run(remote)
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        sshd.kill()
        wait_until(lambda: task.report().state == "reconnecting")
        with socket.create_server((sshd.host, sshd.port)) as mute:
            mute.settimeout(60)
            with mute.accept()[0]:
                task.stop()
                assert task.report().state == "stopped"
                MirrorState(local, task.source.key).close()  # nobody holds its lock any more


def test_a_file_for_which_the_disk_has_no_room_is_not_begun(sshd: Sshd, remote: Path, local: Path) -> None:
    run = write_run(remote)
    os.truncate(run / "logs.txt", shutil.disk_usage(remote).free + (1 << 40))  # a hole, which takes no room there
    with mirroring(sshd, remote, local) as task:
        wait_until(lambda: task.report().state == "reconnecting", f"{task.report()}")
        wait_until(lambda: "No space left" in task.report().last_error, f"{task.report()}")
        assert {path.name for path in (local / RUN).iterdir()} == {"meta.json", "status.json", "events.jsonl"}
        (run / "logs.txt").write_text("15:30:45 | hello\n")
        wait_until(lambda: mirrored(local) == mirrored(remote), "all files", timeout_s=60)


def test_parts_of_a_killed_process_are_removed_at_the_next_start(sshd: Sshd, remote: Path, local: Path) -> None:
    write_run(remote)
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
    (local / RUN / ".large.bin.0badcafe.part").write_text("half")
    with mirroring(sshd, remote, local) as task:
        wait_for_scans(task)
        assert not list(local.rglob("*.part"))
