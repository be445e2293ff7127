"""Pushing local runs to a remote root: a real SSH server, real files on both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import paramiko
import pytest
from click.testing import CliRunner
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

from runicorn_remote.cli.push import push as remote_push
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.pipeline import PIECE_BYTES
from runicorn_remote.push import pushing
from runicorn_remote.push.local_runs import LocalFile
from runicorn_remote.push.writing import Writing, WritingPipeline
from tests.commands import runicorn
from tests.plugins.remote.mirroring import RUN, mirrored, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import wait_until
from tests.sshd import Sshd


@pytest.fixture(autouse=True)
def _alias(sshd: Sshd, write_config: Callable[[str], None]) -> None:
    key = sshd.private_key_path
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n")


def command(local: Path, remote: Path, *runs: str) -> list[str]:
    return [sys.executable, "-m", "runicorn", *words(local, remote, *runs)]


def words(local: Path, remote: Path, *runs: str) -> list[str]:
    return ["remote", "push", *(runs or ["--all"]), f"ssh://gpu{remote}", "--storage", str(local), "--json"]


def push(local: Path, remote: Path, *runs: str) -> subprocess.CompletedProcess[str]:
    return runicorn(*words(local, remote, *runs))


def test_runs_arrive_whole_grow_by_append_and_are_not_sent_again(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote root; $(touch oops)"
    run = write_run(local)
    (run / "media").mkdir()
    (run / "media" / "a.png").write_bytes(os.urandom(300_000))
    write_run(local, "runs/legacy")
    for path in mirrored(local):
        os.utime(local / path, (1736868645, 1736868645))
    done = push(local, remote)
    assert (done.returncode, json.loads(done.stdout)["runs"]) == (0, 2), done.stderr
    assert mirrored(remote) == mirrored(local)
    assert json.loads(push(local, remote).stdout)["files"] == 0
    inode = (remote / RUN / "logs.txt").stat().st_ino
    with (run / "logs.txt").open("a") as file:
        file.write("15:30:46 | again\n")
    (run / "status.json").write_text('{"status": "failed"}')
    assert json.loads(push(local, remote, run.name).stdout)["files"] == 2
    assert mirrored(remote) == mirrored(local)
    assert (remote / RUN / "logs.txt").stat().st_ino == inode


def test_a_run_whose_events_there_are_others_is_named_and_left_alone(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    write_run(local, events=5)
    write_run(local, "runs/other")
    write_run(remote, events=5, status="running")
    (remote / RUN / "events.jsonl").write_text('{"ts": 1.0, "type": "metrics", "data": {}}\n')
    before = mirrored(remote)
    done = push(local, remote)
    assert done.returncode == 1
    assert json.loads(done.stdout)["conflicts"] == [
        f"The remote file is not the beginning of the local one: {RUN}/events.jsonl"
    ]
    after = mirrored(remote)
    assert {path: after[path] for path in before} == before
    assert "runs/other/events.jsonl" in after


def test_a_run_that_has_more_there_is_said_to_be_there_and_left_alone(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local, events=5)
    write_run(remote, events=8)
    (run / "status.json").write_text('{"status": "running"}')
    before = mirrored(remote)
    done = push(local, remote)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ahead"] == [f"Already there, and more: {RUN}/events.jsonl"]
    assert json.loads(done.stdout)["conflicts"] == []
    assert mirrored(remote) == before


@pytest.mark.parametrize("commands", [True, False], ids=["with commands", "SFTP only"])
def test_a_long_stream_is_compared_also_between_its_ends(
    commands: bool, tmp_path: Path, ssh_directory: Path, write_config: Callable[[str], None]
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local)
    content = os.urandom(3 << 20)
    (run / "train.log").write_bytes(content)
    there = remote / RUN / "train.log"
    with Sshd(extra_config=() if commands else ("ForceCommand internal-sftp",)) as sshd:
        key = sshd.private_key_path
        write_config(
            f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n"
        )
        assert push(local, remote).returncode == 0
        with (run / "train.log").open("ab") as file:
            file.write(b"more\n")
        assert push(local, remote).returncode == 0
        assert mirrored(remote) == mirrored(local)
        # One byte is found by a checksum; without one, what a rewritten file has in many places.
        changed = (
            (slice(1_500_000, 1_500_001), b"!") if commands else (slice(100_000, 2_900_000), os.urandom(2_800_000))
        )
        damaged = bytearray(content)
        damaged[changed[0]] = changed[1]
        there.write_bytes(damaged)
        with (run / "train.log").open("ab") as file:
            file.write(b"and more\n")
        done = push(local, remote)
    assert done.returncode == 1
    assert "train.log" in done.stderr + done.stdout
    assert there.read_bytes() == bytes(damaged)


@pytest.mark.parametrize("there_are_streams", [True, False])
def test_files_of_another_run_without_streams_are_not_replaced(there_are_streams: bool, tmp_path: Path) -> None:
    """Neither where the run there has no stream, nor where only that one has some."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    ours, theirs = write_run(local, hostname="here"), write_run(remote, hostname="elsewhere", status="running")
    for run in (theirs,) if not there_are_streams else (ours,):
        (run / "events.jsonl").unlink()
        (run / "logs.txt").unlink()
    before = mirrored(remote)
    done = push(local, remote)
    assert done.returncode == 1, done.stdout
    assert mirrored(remote) == before


def test_a_run_without_streams_goes_on_where_a_push_was_cut_off(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local)
    for name in ("events.jsonl", "logs.txt"):
        (run / name).unlink()
    (run / "media").mkdir()
    (run / "media" / "a.png").write_bytes(os.urandom(1000))
    (remote / RUN).mkdir(parents=True)
    (remote / RUN / "meta.json").write_bytes((run / "meta.json").read_bytes())
    done = push(local, remote)
    assert done.returncode == 0, done.stderr
    assert mirrored(remote) == mirrored(local)


def test_many_runs_arrive_in_groups_with_one_that_does_not(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    for number in range(80):
        write_run(local, f"runs/{number:03}", events=number % 5)
    write_run(remote, "runs/040", events=9)
    (remote / "runs/040/logs.txt").write_text("of somebody else, long before\n")
    there = mirrored(remote)
    done = push(local, remote)
    assert done.returncode == 1
    assert json.loads(done.stdout)["runs"] == 79
    assert json.loads(done.stdout)["conflicts"] == [
        "The remote file is not the beginning of the local one: runs/040/logs.txt"
    ]
    expected = {path: content for path, content in mirrored(local).items() if not path.startswith("runs/040/")}
    assert mirrored(remote) == expected | there


def test_a_refused_login_is_not_tried_again(sshd: Sshd, tmp_path: Path, write_config: Callable[[str], None]) -> None:
    write_run(tmp_path / "local")
    key = sshd.new_client_key(passphrase="secret words")
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n")
    done = push(tmp_path / "local", tmp_path / "remote")
    assert done.returncode == 1
    assert "No authentication methods" in done.stderr


def test_a_connection_that_is_killed_in_the_middle_costs_nothing(sshd: Sshd, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local)
    line = json.dumps({"ts": 1736868645.0, "type": "metrics", "data": {"text": "x" * 900}}) + "\n"
    (run / "events.jsonl").write_text(line * 60_000)
    (run / "media").mkdir()
    (run / "media" / "a.png").write_bytes(os.urandom(5_000_000))
    there = remote / RUN / "events.jsonl"
    with subprocess.Popen(command(local, remote), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: there.exists() and there.stat().st_size > 1_000_000, timeout_s=30)
        sshd.kill()
        assert there.stat().st_size < (run / "events.jsonl").stat().st_size
        sshd.start()
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert json.loads(out)["runs"] == 1
    assert mirrored(remote) == mirrored(local)


def test_a_file_that_is_replaced_after_it_was_listed_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local)
    listed = pushing.files_of

    def then_replaced(root: Path, key: str) -> list[LocalFile]:
        found = listed(root, key)
        new = run / "status.tmp"
        new.write_text(json.dumps({"status": "finished", "more": "x" * 500}))
        new.replace(run / "status.json")
        return found

    monkeypatch.setattr(pushing, "files_of", then_replaced)
    done = CliRunner().invoke(remote_push, ["--all", f"ssh://gpu{remote}", "--storage", str(local), "--json"])
    assert done.exit_code == 0, done.output
    assert mirrored(remote) == mirrored(local)


def test_what_cannot_be_pushed_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "local")
    for arguments, text in (
        (["absent", "ssh://gpu/x"], "No run of this machine is called absent"),
        (["--all", "http://gpu/x"], "ssh://"),
        (["--all", "ssh://me:secret@gpu/x"], "a password in the URL"),
        (["ssh://gpu/x"], "Name runs, or say --all"),
        (["--all", "--follow", "ssh://gpu/x"], "--follow takes one run"),
        (["--log", "file", "--all", "ssh://gpu/x"], "--log needs --follow"),
    ):
        done = runicorn("remote", "push", *arguments, "--storage", tmp_path / "local")
        assert done.returncode != 0
        assert text in done.stderr
        assert "secret" not in done.stderr


class OnceFull(paramiko.SFTPServerInterface):
    """The real files, on a disk that is full for one write only."""

    full_at = 40 * PIECE_BYTES

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
        descriptor = os.open(path, flags, 0o644)
        disk = self

        class Handle(paramiko.SFTPHandle):
            def write(self, offset: int, data: bytes) -> int:
                if offset == disk.full_at:
                    return SFTP_FAILURE
                os.pwrite(descriptor, data, offset)
                return SFTP_OK

            def stat(self) -> Any:
                return paramiko.SFTPAttributes.from_stat(os.fstat(descriptor))

            def chattr(self, attr: Any) -> int:
                os.utime(descriptor, (attr.st_atime, attr.st_mtime))
                return SFTP_OK

            def close(self) -> None:
                super().close()
                os.close(descriptor)

        return Handle(flags)

    def chattr(self, path: str, attr: Any) -> int:
        os.truncate(path, attr.st_size)
        return SFTP_OK


@pytest.mark.parametrize("how", ["create", "extend"])
def test_a_piece_that_the_server_does_not_take_leaves_no_hole(tmp_path: Path, how: Literal["create", "extend"]) -> None:
    """The file would have its full length, and the time of the local one: the next push would take it for complete."""
    local, there = tmp_path / "events.jsonl", tmp_path / "there.jsonl"
    local.write_bytes(os.urandom(50 * PIECE_BYTES))
    offset = 0
    if how == "extend":
        offset = PIECE_BYTES
        there.write_bytes(local.read_bytes()[:offset])
    with ParamikoServer(files=OnceFull) as server, local.open("rb") as content:
        content.seek(offset)
        target = Target("127.0.0.1", server.port, "me")
        connection = Connection(target, Credentials(password="correct horse", use_agent=False), HostKeyPolicy())
        try:
            pipeline = WritingPipeline(connection.open_sftp())
            writing = Writing(str(there), content, offset, local.stat().st_size, 1736868645, how)
            (failure,) = pipeline.write([writing])
        finally:
            connection.close()
    assert failure is not None
    assert there.read_bytes() == local.read_bytes()[:offset]


def test_a_file_with_a_long_name_in_another_script_is_pushed(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    run = write_run(local)
    (run / ("训练" * 41 + ".json")).write_text("{}")
    done = push(local, remote)
    assert done.returncode == 0, done.stderr
    assert mirrored(remote) == mirrored(local)
