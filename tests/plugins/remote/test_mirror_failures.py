"""Mirrors that cannot bring one file, or all: what is counted, what goes on, and what ends them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from runicorn.plugin import recorder_of
from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.mirror import following
from runicorn_remote.mirror.lane import Lane
from runicorn_remote.mirror.parts import Parts
from runicorn_remote.mirror.source import RemoteSource
from tests.plugins.remote.made_up_files import Entry
from tests.plugins.remote.mirroring import RUN, connect_to, mirrored, mirroring, target_of, wait_for_scans, write_run
from tests.plugins.remote.test_hostile_mirror import connected, endless
from tests.plugins.remote.test_hostile_mirror import following as task_following
from tests.plugins.remote.test_hostile_smart import META, tree_of
from tests.plugins.remote.test_mirror_pauses import pauses, told
from tests.serving import wait_until
from tests.sshd import Sshd

__all__ = ["pauses"]

LONG = "训练" * 41 + ".json"
"""Not longer than a name may be, and longer in bytes than in characters."""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


@contextlib.contextmanager
def lane_to(sshd: Sshd, there: Path, here: Path) -> Generator[tuple[Lane, Parts]]:
    """One lane of a mirror, without its task."""
    here.mkdir(exist_ok=True)
    connection = connect_to(sshd)
    parts = Parts(connection, RemoteSource(target_of(sshd), str(there)), here, recorder_of(here), time.time())
    lane = parts.open_lane(lambda: None)
    try:
        yield lane, parts
    finally:
        lane.close()
        parts.known.close()
        connection.close()


def listed(root: Path, path: str) -> RemoteFile:
    found = (root / path).stat()
    return RemoteFile(path, found.st_size, found.st_mtime_ns)


# ── listings that come late ─────────────────────────────────────────────────


def test_a_listing_that_is_older_than_what_is_here_takes_no_line_away(sshd: Sshd, there: Path, here: Path) -> None:
    """The scanner lists a run, the quick thread brings what it has logged since, and then the scan is taken up."""
    run = write_run(there, status="running")
    paths = [f"{RUN}/events.jsonl", f"{RUN}/logs.txt"]
    before = [listed(there, path) for path in paths]
    for path in paths:
        with (there / path).open("a") as file:
            file.write('{"ts": 1736868650.0, "type": "metrics", "data": {"loss": 0.1}}\n')
    with lane_to(sshd, there, here) as (lane, parts):
        lane.bring([listed(there, path) for path in paths])
        inodes = [(here / path).stat().st_ino for path in paths]
        lane.bring(before)
        assert [(here / path).stat().st_ino for path in paths] == inodes
        assert [(here / path).read_bytes() for path in paths] == [(there / path).read_bytes() for path in paths]
        (run / "logs.txt").write_text("15:31:00 | begun anew\n")  # shorter than it was
        lane.bring([listed(there, paths[1])])
        assert (here / paths[1]).read_text() == "15:31:00 | begun anew\n"
        assert parts.stats.failed_files == 0


def test_an_append_that_breaks_off_goes_on_where_it_ended(
    sshd: Sshd, there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runicorn_remote.mirror import local_tree

    run = write_run(there)
    log = run / "logs.txt"
    with lane_to(sshd, there, here) as (lane, _):
        lane.bring([listed(there, f"{RUN}/logs.txt")])
        copy = here / RUN / "logs.txt"
        inode, size = copy.stat().st_ino, copy.stat().st_size
        with log.open("ab") as file:
            file.write(os.urandom(200_000))
        write = local_tree._write  # pyright: ignore[reportPrivateUsage]  # the disk

        def full(descriptor: int, pieces: Iterable[bytes]) -> int:
            write(descriptor, [next(iter(pieces))])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(local_tree, "_write", full)
            with pytest.raises(OSError, match="No space left"):
                lane.bring([listed(there, f"{RUN}/logs.txt")])
        assert size < copy.stat().st_size < log.stat().st_size
        lane.bring([listed(there, f"{RUN}/logs.txt")])
        assert copy.read_bytes() == log.read_bytes()
        assert copy.stat().st_ino == inode


# ── one file that cannot be brought ─────────────────────────────────────────


@pytest.mark.slow(5)
def test_a_long_name_in_another_script_arrives(sshd: Sshd, there: Path, here: Path) -> None:
    run = write_run(there)
    (run / LONG).write_text("{}")
    (run / "large").mkdir()
    (run / "large" / LONG).write_bytes(os.urandom(400_000))
    with mirroring(sshd, there, here) as task:
        wait_until(lambda: task.report().state == "watching", f"{task.report()}")
        wait_until(lambda: mirrored(here) == mirrored(there), "equal trees")
        assert task.report().stats.failed_files == 0


def test_a_restore_of_a_run_that_is_a_link_here_stops_nothing(sshd: Sshd, there: Path, here: Path) -> None:
    run = write_run(there)
    (run / ".deleted").write_text("{}")
    with mirroring(sshd, there, here) as task:
        wait_until((here / RUN / ".deleted").exists)
        wait_for_scans(task)
        (here / RUN).rename(here.parent / "elsewhere")
        (here / RUN).symlink_to(here.parent / "elsewhere")
        (run / ".deleted").unlink()
        wait_for_scans(task, 4)
        other = write_run(there, "vision/resnet/runs/other")
        wait_until((here / "vision/resnet/runs/other/meta.json").exists, f"{task.report()}")
        assert (task.report().state, task.report().last_error) == ("watching", "")
        assert (here.parent / "elsewhere" / ".deleted").exists()  # a link is not followed
        assert other.exists()


@pytest.fixture
def locked_directory(here: Path) -> Generator[Path]:
    """A directory here in which nothing can be made, by root neither."""
    directory = here / "locked/model/runs"
    directory.mkdir(parents=True)
    done = subprocess.run(["chattr", "+i", str(directory)], capture_output=True) if shutil.which("chattr") else None
    if done is None or done.returncode:
        pytest.skip("chattr works nowhere here")
    yield directory
    subprocess.run(["chattr", "-i", str(directory)], check=True)


def test_a_directory_here_that_cannot_be_written_holds_nothing_else_up(
    sshd: Sshd, there: Path, here: Path, locked_directory: Path
) -> None:
    write_run(there)
    locked = write_run(there, "locked/model/runs/r1")
    with mirroring(sshd, there, here) as task:
        wait_until(lambda: task.report().state == "watching", f"{task.report()}")
        wait_until((here / RUN / "status.json").exists)
        wait_for_scans(task, 3)
        report = task.report()
        assert (report.state, report.last_error) == ("watching", "")
        assert report.stats.failed_files == len(list(locked.iterdir()))


def test_what_cannot_be_brought_counts_once_and_only_as_long_as_that_is_so(sshd: Sshd, there: Path, here: Path) -> None:
    run = write_run(there)
    (run / "odd\nname").touch()
    (here / RUN / "summary.json").mkdir(parents=True)  # in the way
    shutil.rmtree(here)
    with mirroring(sshd, there, here) as task:
        wait_for_scans(task)
        (here / RUN / "summary.json").mkdir()
        (run / "summary.json").write_text("{}")
        wait_until(lambda: task.report().stats.failed_files == 2, f"{task.report()}")
        wait_for_scans(task, 4)
        assert task.report().stats.failed_files == 2
        (here / RUN / "summary.json").rmdir()
        wait_until((here / RUN / "summary.json").is_file)
        wait_until(lambda: task.report().stats.failed_files == 1, f"{task.report()}")


def test_a_file_that_is_larger_than_it_was_listed_leaves_room_for_everybody_else(here: Path) -> None:
    listed_size = iter([1 << 20])
    growing = Entry(endless, size=lambda: next(listed_size, 1 << 62))
    tree = tree_of({"meta.json": META, "model.bin": growing})
    with connected(tree) as connection, task_following(connection, here) as task:
        wait_until(lambda: "No space left" in task.report().last_error, f"{task.report()}")
        assert not list(here.rglob("*.part"))
        assert task.report().stats.copied_bytes < 1 << 20


# ── what ends a task, and what outlives an attempt ──────────────────────────


def test_a_root_that_is_another_one_ends_the_mirror_and_is_not_filled(
    sshd: Sshd, there: Path, here: Path, pauses: list[float]
) -> None:
    write_run(there, status="running")
    with told(sshd, there, here) as (task, events):
        wait_until(lambda: task.report().state == "watching")
        here.rename(here.with_name("unmounted"))
        here.mkdir()
        wait_until(lambda: task.report().state == "error", f"{task.report()}", timeout_s=60)
        assert "storage root is gone" in task.report().last_error
        assert task.has_ended
        assert list(here.iterdir()) == []
    assert events


def test_a_mirror_on_a_connection_that_was_closed_for_good_ends(sshd: Sshd, there: Path, here: Path) -> None:
    write_run(there)
    with mirroring(sshd, there, here) as task:
        wait_until(lambda: task.report().state == "watching")
        task.connection.close()
        wait_until(lambda: task.report().state == "error", f"{task.report()}")
        assert task.report().last_error == "Connection to the remote server was lost"


def test_a_thread_that_outlives_its_attempt_takes_no_part_in_the_next(
    sshd: Sshd, there: Path, here: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full again and again, while the server takes long to list its files."""
    monkeypatch.setattr(following, "_END_S", 0.1)
    released = threading.Event()
    enumerate_root = following.enumerate_root
    monkeypatch.setattr(
        following, "enumerate_root", lambda *arguments: released.wait(60) and enumerate_root(*arguments)
    )
    write_run(there)
    before = set(threading.enumerate())

    def scanners() -> list[threading.Thread]:
        return [thread for thread in set(threading.enumerate()) - before if thread.name.endswith(" scanner")]

    with told(sshd, there, here) as (task, _):
        wait_until(lambda: len(scanners()) == 1)
        for count in (2, 3):
            task._following._break(OSError(errno.ENOSPC, "full"))  # pyright: ignore[reportPrivateUsage]  # again and again
            wait_until(lambda count=count: len(scanners()) == count, f"{task.report()}", timeout_s=60)
        released.set()
        wait_until(lambda: len(scanners()) == 1, "one scanner")
        wait_until(lambda: mirrored(here) == mirrored(there), f"{task.report()}")
