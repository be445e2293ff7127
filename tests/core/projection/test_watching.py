"""Waking up when files change, and what happens where that cannot work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn.projection.watching import Watcher, needs_polling


class Looking:
    """A watcher, and what it told."""

    def __init__(self, **options: object) -> None:
        self.told: list[frozenset[str] | None] = []
        self.watcher = Watcher(self.told.append, **options)  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table

    def has(self, path: Path) -> bool:
        return any(told is not None and str(path) in told for told in list(self.told))


@pytest.fixture
def look():
    """A function that starts a watcher on directories."""
    started: list[Watcher] = []

    def start(*directories: Path, **options: object) -> Looking:
        looking = Looking(**options)
        looking.watcher.watch(frozenset(map(str, directories)))
        looking.watcher.start()
        started.append(looking.watcher)
        return looking

    yield start
    for watcher in started:
        watcher.stop()
        watcher.join(10)
        assert not watcher.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_change_is_told_with_its_path_and_everything_is_looked_at_first(tmp_path, look):
    looking = look(tmp_path)
    wait_until(lambda: looking.told[:1] == [None])
    assert looking.watcher.mode == "inotify"
    (tmp_path / "file").touch()
    wait_until(lambda: looking.has(tmp_path / "file"))


def test_for_another_set_everything_is_looked_at_again(tmp_path, look):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    looking = look(tmp_path / "a")
    wait_until(lambda: looking.told.count(None) == 1)
    looking.watcher.watch(frozenset({str(tmp_path / "b")}))
    wait_until(lambda: looking.told.count(None) == 2)
    (tmp_path / "b" / "file").touch()
    wait_until(lambda: looking.has(tmp_path / "b" / "file"))


def test_a_directory_that_is_made_later_is_watched_then(tmp_path, look):
    looking = look(tmp_path / "later")
    wait_until(lambda: None in looking.told)
    (tmp_path / "later").mkdir()
    wait_until(lambda: looking.told.count(None) >= 2)
    (tmp_path / "later" / "file").touch()
    wait_until(lambda: looking.has(tmp_path / "later" / "file"))


def test_a_directory_removed_and_made_again_is_watched_again_when_told(tmp_path, look):
    directory = tmp_path / "runs"
    directory.mkdir()
    looking = look(directory)
    wait_until(lambda: None in looking.told)
    shutil.rmtree(directory)
    directory.mkdir()
    looking.watcher.watch(frozenset({str(directory)}), replaced=1)
    wait_until(lambda: looking.told.count(None) >= 2)
    (directory / "file").touch()
    wait_until(lambda: looking.has(directory / "file"))


def test_three_thousand_directories_are_watched(tmp_path, look):
    directories = [tmp_path / str(number) for number in range(3000)]
    for directory in directories:
        directory.mkdir()
    looking = look(*directories)
    wait_until(lambda: None in looking.told)
    for directory in (directories[0], directories[1500], directories[-1]):
        (directory / "file").touch()
        wait_until(lambda directory=directory: looking.has(directory / "file"))
    assert looking.watcher.mode == "inotify"


def test_one_directory_that_must_not_be_read_spoils_nothing(tmp_path, look):
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "open").mkdir()
    looking = look(tmp_path / "closed", tmp_path / "open")
    wait_until(lambda: None in looking.told)
    assert looking.watcher.mode == "inotify"
    (tmp_path / "open" / "file").touch()
    wait_until(lambda: looking.has(tmp_path / "open" / "file"))


def test_polling_looks_at_everything_again_and_again(tmp_path, look):
    looking = look(tmp_path, force_polling=True, poll_s=0.001)
    wait_until(lambda: looking.told.count(None) > 5)
    assert looking.watcher.mode == "polling"
    assert set(looking.told) == {None}


EXHAUSTED = """
import resource, sys, time
from runicorn.projection.watching import Watcher
told = []
watcher = Watcher(told.append, poll_s=0.001)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # not one descriptor more, so no inotify instance
watcher.watch(frozenset({sys.argv[1]}))
watcher.start()
deadline = time.monotonic() + 20
while len(told) < 10 and time.monotonic() < deadline:
    time.sleep(0.001)
print(watcher.mode, set(told))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
watcher.watch(frozenset({sys.argv[1]}), replaced=1)
while watcher.mode == "polling" and time.monotonic() < deadline:
    time.sleep(0.001)
print(watcher.mode)
watcher.stop()
"""


def test_where_the_system_refuses_a_watcher_it_polls_and_later_watches_again(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", EXHAUSTED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stdout == "polling {None}\ninotify\n", result.stderr


def test_it_ends_at_once_in_either_mode(tmp_path):
    for options in ({}, {"force_polling": True}):
        looking = Looking(**options)
        looking.watcher.watch(frozenset({str(tmp_path)}))
        looking.watcher.start()
        wait_until(lambda looking=looking: None in looking.told)
        looking.watcher.stop()
        looking.watcher.join(10)
        assert looking.watcher not in threading.enumerate()


def test_local_file_systems_are_watched():
    assert not needs_polling(Path("/"))
    assert not needs_polling(Path("/tmp/no/such/place"))
