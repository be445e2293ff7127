"""Appending to a stream: nothing is lost, nothing is doubled, nothing half-written becomes an event."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from runicorn.events.append import StreamRemoved, StreamWriter
from runicorn.events.envelope import Lines, decode_data, encode_event


def event(number: int, **more: object) -> bytes:
    return encode_event(1.0, "metrics", {"n": number, **more})


def numbers(path) -> list[int]:
    lines = Lines(path.read_bytes(), 0)
    assert not lines.bad
    return [decode_data(event)["n"] for event in lines.events]


def test_an_append_returns_the_offset_of_its_first_line(tmp_path):
    writer = StreamWriter(tmp_path / "events.jsonl")
    assert writer.append(event(1)) == 0
    assert writer.append(event(2) + event(3)) == len(event(1))
    assert numbers(tmp_path / "events.jsonl") == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_tail_is_ended_before_more_is_appended(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    torn = event(0)[:-cut]
    path.write_bytes(event(1) + torn)
    writer = StreamWriter(path)
    assert writer.append(event(2)) == len(event(1)) + len(torn) + 1
    lines = Lines(path.read_bytes(), 0)
    kept = [decode_data(found)["n"] for found in lines.events]
    assert kept == ([1, 0, 2] if cut == 1 else [1, 2])  # only the newline was missing: it was an event all but for that
    assert [bad.offset for bad in lines.bad] == ([] if cut == 1 else [len(event(1))])


def test_a_tail_torn_by_another_process_in_between_is_ended_too(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = StreamWriter(path)
    writer.append(event(1))
    with path.open("ab") as other:
        other.write(b'{"ts": 1, "ty')
    writer.append(event(2))
    lines = Lines(path.read_bytes(), 0)
    assert [decode_data(found)["n"] for found in lines.events] == [1, 2]
    assert len(lines.bad) == 1


def test_a_short_write_leaves_no_half_event(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = StreamWriter(path)
    writer.append(event(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(event(1)) + 20, before[1]))
    try:
        with pytest.raises(OSError, match=r"space|large"):
            writer.append(event(2))
        with pytest.raises(OSError, match=r"space|large"):
            writer.append(event(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == event(1)
    writer.append(event(4))
    assert numbers(path) == [1, 4]


def test_a_removed_directory_is_never_made_again(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    writer = StreamWriter(directory / "events.jsonl")
    writer.append(event(1))
    shutil.rmtree(directory)
    for _ in range(2):
        with pytest.raises(StreamRemoved):
            writer.append(event(2))
    assert not directory.exists()


def test_a_stream_removed_under_its_writer_is_noticed_at_once(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = StreamWriter(path)
    writer.append(event(1))
    path.unlink()
    with pytest.raises(StreamRemoved):
        writer.append(event(2))
    assert not path.exists()


def test_a_closed_writer_opens_again(tmp_path):
    writer = StreamWriter(tmp_path / "events.jsonl")
    writer.append(event(1))
    writer.sync()
    writer.close()
    writer.sync()
    writer.append(event(2))
    assert numbers(tmp_path / "events.jsonl") == [1, 2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_appends_beside_its_parent(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = StreamWriter(path)
    writer.append(event(0))
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            for number in range(100):
                writer.append(event(1000 * (child + 1) + number))
            os._exit(0)
        children.append(pid)
    for number in range(100):
        writer.append(event(number + 1))
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    expected = [*range(101), *(1000 * child + number for child in (1, 2, 3) for number in range(100))]
    assert sorted(numbers(path)) == expected


def _append_from_threads(path, process):
    writer = StreamWriter(path)

    def work(thread: int) -> None:
        for number in range(50):
            writer.append(event(process * 10_000 + thread * 1000 + number, text="x" * 5000))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_eight_threads_in_each_of_four_processes_lose_nothing(tmp_path):
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_from_threads, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    expected = [p * 10_000 + t * 1000 + n for p in range(4) for t in range(8) for n in range(50)]
    found = numbers(path)
    assert sorted(found) == expected
    for process in range(4):  # and each thread's own order is kept
        for thread in range(8):
            own = [n for n in found if n // 1000 == process * 10 + thread]
            assert own == sorted(own)


APPENDER = """
import sys
from runicorn.events.append import StreamWriter
from runicorn.events.envelope import encode_event
writer = StreamWriter(sys.argv[1])
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    writer.append(encode_event(1.0, "metrics", {"n": number, "text": "x" * 3000}))
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow(2)
def test_a_killed_writer_loses_nothing_that_it_was_told_is_appended(tmp_path):
    path = tmp_path / "events.jsonl"
    chance = random.Random(5)
    first = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(path), str(first)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        told = first
        moment = time.monotonic() + chance.uniform(0, 0.02)
        while time.monotonic() < moment:
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        told = max([told, *(int(line) for line in rest if line.isdigit())])
        lines = Lines(path.read_bytes(), 0) if path.exists() else Lines(b"", 0)
        kept = [json.loads(bytes(found.data))["n"] for found in lines.events]
        assert kept == list(range(len(kept)))
        assert len(kept) in (told, told + 1)
        first = len(kept)
