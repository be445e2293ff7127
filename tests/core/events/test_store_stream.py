"""The store stream: one writer at a time, segments, times that never go back, roots that must not be written."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest

from runicorn.errors import StorageUnavailable
from runicorn.events.envelope import Payload, decode_payload
from runicorn.events.log import FileLog, Stream
from runicorn.events.store import StoreStream


class Noted(Payload, frozen=True, kw_only=True):
    """An event for tests."""

    event_type: ClassVar[str] = "test.noted"
    writer: int
    number: int
    text: str = ""


@pytest.fixture
def log(tmp_path):
    (tmp_path / "root").mkdir()
    return FileLog(tmp_path / "root", tmp_path / "state")


def stored(log: FileLog) -> list[tuple[float, Noted]]:
    found: list[tuple[float, Noted]] = []
    for stream in log.store_streams():
        lines = log.read(stream, limit=1 << 30)
        assert not lines.bad
        found += [(event.ts, decode_payload(event, Noted)) for event in lines.events]
    return found


def test_an_append_returns_stream_and_the_offset_behind_it(log):
    store = StoreStream(log)
    stream, end = store.append(Noted(writer=1, number=1), Noted(writer=1, number=2))
    assert stream == Stream("store", ".runicorn/log/00000001")
    position = log.position(stream)
    assert position is not None
    assert position.size == end
    assert store.append(Noted(writer=1, number=3))[1] > end
    assert [noted.number for _, noted in stored(log)] == [1, 2, 3]


def test_events_that_belong_together_share_one_time(log):
    StoreStream(log).append(Noted(writer=1, number=1), Noted(writer=1, number=2))
    (first, _), (second, _) = stored(log)
    assert first == second
    assert abs(first - time.time()) < 60


def test_segments_roll_over_and_their_times_ascend(log):
    store = StoreStream(log, segment_bytes=300)
    streams = {store.append(Noted(writer=1, number=number))[0].name for number in range(20)}
    assert len(streams) > 3
    assert sorted(streams) == [stream.name for stream in log.store_streams()]
    found = stored(log)
    assert [noted.number for _, noted in found] == list(range(20))
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(found))


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_times_never_go_back_when_the_clock_does(log, segment_bytes, monkeypatch):
    clock = iter([1000.0, 2000.0, 500.0, 500.0, 1e-3, 3000.0])
    monkeypatch.setattr("runicorn.events.store.time.time", lambda: next(clock))
    store = StoreStream(log, segment_bytes=segment_bytes)
    for number in range(3):
        store.append(Noted(writer=1, number=number))
        for segment in log.store_streams():
            os.utime(log.path(segment), (0, 0))
    for number in range(3, 6):  # and in a process that did not write the first ones
        StoreStream(log, segment_bytes=segment_bytes).append(Noted(writer=2, number=number))
        for segment in log.store_streams():
            os.utime(log.path(segment), (0, 0))
    times = [ts for ts, _ in stored(log)]
    assert times[:2] == [1000.0, 2000.0]
    assert times[-1] == 3000.0
    assert all(a < b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
@pytest.mark.parametrize("is_same_writer", [True, False])
def test_a_clock_that_was_wrong_for_a_moment_does_not_date_what_follows(
    log, segment_bytes, is_same_writer, monkeypatch, caplog
):
    now, wrong, unset = 1.8e9, 4.1e9, 100.0
    store = StoreStream(log, segment_bytes=segment_bytes)
    with caplog.at_level("WARNING"):
        for number, clock in enumerate([now, wrong, now + 1, now + 2, unset, now + 3]):
            monkeypatch.setattr("runicorn.events.store.time.time", lambda clock=clock: clock)
            store = store if is_same_writer else StoreStream(log, segment_bytes=segment_bytes)
            store.append(Noted(writer=1, number=number))
            for segment in log.store_streams():
                os.utime(log.path(segment), (0, 0))
    times = [ts for ts, _ in stored(log)]
    assert times[:2] == [now, wrong]
    assert times[2] == now + 1
    assert times[3] == now + 2
    assert "more than a year ahead" in caplog.text
    if is_same_writer:
        assert times[4] == pytest.approx(now + 2)  # a clock that has not been set yet
        assert times[5] == now + 3
        assert caplog.text.count("more than a year ahead") == 1


def test_a_root_that_becomes_writable_goes_on_after_what_is_in_the_state_directory(log, monkeypatch):
    monkeypatch.setattr("runicorn.events.store.time.time", lambda: 2000.0)
    with monkeypatch.context() as read_only:
        read_only.setattr("runicorn.events.store._can_be_written", lambda root: False)
        stream, _ = StoreStream(log).append(Noted(writer=1, number=1))
    assert stream.name == "@state/log/00000001"
    os.utime(log.path(stream), (0, 0))
    monkeypatch.setattr("runicorn.events.store.time.time", lambda: 1000.0)
    for number in (2, 3):
        StoreStream(log).append(Noted(writer=1, number=number))
    times = {noted.number: ts for ts, noted in stored(log)}
    assert 2000.0 == times[1] < times[2] < times[3]


def test_observed_times_are_kept_but_never_lie_in_the_future(log):
    store = StoreStream(log)
    store.append_at([(12.5, Noted(writer=1, number=1)), (1e12, Noted(writer=1, number=2))])
    store.append(Noted(writer=1, number=3))
    (old, _), (future, _), (command, _) = stored(log)
    assert old == 12.5
    assert future < command < time.time() + 60


def test_many_old_observations_do_not_hide_when_the_last_command_was(log, monkeypatch):
    StoreStream(log).append(Noted(writer=1, number=1))
    (command, _) = stored(log)[0]
    StoreStream(log).append_at([(5.0, Noted(writer=1, number=2, text="x" * 2000))] * 100)
    monkeypatch.setattr("runicorn.events.store.time.time", lambda: 100.0)
    StoreStream(log).append(Noted(writer=2, number=3))
    assert stored(log)[-1][0] > command - 0.1


def _append_many(root, state, writer):
    store = StoreStream(FileLog(root, state), segment_bytes=4000)
    for number in range(60):
        store.append(Noted(writer=writer, number=number))


def test_several_processes_append_at_once_and_nothing_is_lost(log):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(log.root, log.state_dir, writer)) for writer in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = stored(log)
    assert sorted((noted.writer, noted.number) for _, noted in found) == [(w, n) for w in range(4) for n in range(60)]
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(found))
    for writer in range(4):
        own = [noted.number for _, noted in found if noted.writer == writer]
        assert own == sorted(own)
    assert len(list(log.store_streams())) > 2


def test_a_log_that_was_removed_under_a_running_server_begins_again(log):
    store = StoreStream(log)
    store.append(Noted(writer=1, number=1))
    shutil.rmtree(log.root / ".runicorn")
    store.append(Noted(writer=1, number=2))
    assert [noted.number for _, noted in stored(log)] == [2]


def test_a_torn_line_of_a_crashed_writer_is_ended_first(log):
    store = StoreStream(log)
    stream, _ = store.append(Noted(writer=1, number=1))
    with open(log.path(stream), "ab") as file:
        file.write(b'{"ts": 5, "type": "test.no')
    StoreStream(log).append(Noted(writer=1, number=2))
    lines = log.read(stream)
    assert [decode_payload(event, Noted).number for event in lines.events] == [1, 2]
    assert len(lines.bad) == 1


READ_ONLY = """
import os, sys
from pathlib import Path
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from tests.core.events.test_store_stream import Noted
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
log = FileLog(Path(sys.argv[1]), Path(sys.argv[2]))
print(StoreStream(log).append(Noted(writer=1, number=1))[0].name)
"""


@pytest.mark.parametrize("internal", [False, True])
def test_a_read_only_root_has_its_store_stream_in_the_state_directory(tmp_path, internal):
    # pytest's own directories may be entered by their owner only
    root, state = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    state.mkdir()
    if internal:
        (root / ".runicorn").mkdir(mode=0o555)
    root.chmod(0o555 if not internal else 0o777)
    state.chmod(0o777)
    for parent in tmp_path.parents[:5]:
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(root), str(state)], capture_output=True, text=True, check=False
    )
    assert result.stdout == "@state/log/00000001\n", result.stderr
    assert [stream.name for stream in FileLog(root, state).streams()] == ["@state/log/00000001"]


def test_storage_that_cannot_be_written_is_an_error_that_users_understand(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".runicorn").touch()
    (tmp_path / "state").touch()
    with pytest.raises(StorageUnavailable):
        StoreStream(FileLog(tmp_path / "root", tmp_path / "state")).append(Noted(writer=1, number=1))


@pytest.mark.parametrize("is_directory", [False, True])
def test_what_cannot_be_made_to_last_is_not_recorded(log, monkeypatch, is_directory):
    store = StoreStream(log)
    if not is_directory:
        store.append(Noted(writer=1, number=1))
    before = stored(log)
    real = os.fsync

    def fails(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) != is_directory:
            return real(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fails)
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                store.append(Noted(writer=1, number=2))
            assert stored(log) == before
    store.append(Noted(writer=1, number=3))
    assert [noted.number for _, noted in stored(log)] == [noted.number for _, noted in before] + [3]


def test_a_lock_that_another_process_keeps_is_an_error_that_says_so(log):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(log.root / ".runicorn" / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    store = StoreStream(log, lock_timeout_s=0.05)
    failures: list[StorageUnavailable] = []

    def append() -> None:
        try:
            store.append(Noted(writer=1, number=1))
        except StorageUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=append) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    holder.communicate()

    assert len(failures) == 3
    assert all("Another process holds the lock" in str(error) for error in failures)
    store.append(Noted(writer=1, number=2))
    assert [noted.number for _, noted in stored(log)] == [2]


HOLD_LOCK = """
import sys
from pathlib import Path
from runicorn.files import file_lock
Path(sys.argv[1]).mkdir(parents=True)
with file_lock(Path(sys.argv[1]) / "lock"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("thing", ["directory", "pipe", "link to nothing"])
def test_what_is_no_file_in_the_place_of_a_segment_is_left_alone(log, thing: str):
    StoreStream(log).append(Noted(writer=1, number=1))
    place = log.root / ".runicorn/log/00000002.jsonl"
    match thing:
        case "directory":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case _:
            place.symlink_to("nowhere")
    stream, _ = StoreStream(log).append(Noted(writer=1, number=2))
    assert stream.name == ".runicorn/log/00000003"
    assert StoreStream(log).append(Noted(writer=1, number=3))[0] == stream
