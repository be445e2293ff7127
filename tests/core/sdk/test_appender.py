from __future__ import annotations

import logging
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runicorn.sdk import appender as appender_module
from runicorn.sdk.appender import Appender
from runicorn.sdk.warn_once import Warnings
from tests.serving import wait_until


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writes beyond `limit` bytes of a file fail or are short, as on a full disk (the interpreter ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory / "events.jsonl"


def appender_for(stream: Path, is_present: Callable[[], bool] | None = None, *, keep_open: bool = True) -> Appender:
    return Appender(str(stream), is_present or stream.parent.exists, Warnings(), keep_open=keep_open)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d\n" % number for number in range(first, last)]


def test_lines_are_in_the_file_when_append_returns(stream: Path):
    appender = appender_for(stream)
    for line in numbered(0, 3):
        appender.append(line)
        assert stream.read_bytes().endswith(line)
    assert stream.read_bytes() == b"0\n1\n2\n"


def test_a_full_disk_is_reported_once_and_its_lines_are_written_in_order_later(stream: Path, caplog):
    appender = appender_for(stream)
    appender.append(b"0\n")
    with file_size_limit(5):
        for line in numbered(1, 500):
            appender.append(line)
        assert appender.waiting > 490
        assert not appender.flush()
        assert stream.read_bytes() == b"0\n1\n"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "events.jsonl cannot be written" in caplog.text
    assert str(stream.parent) not in caplog.text
    appender.append(b"500\n")
    appender.append(b"501\n")
    assert appender.flush()
    assert stream.read_bytes() == b"".join(numbered(0, 502))


def test_what_waits_is_tried_again_without_a_further_append(stream: Path):
    appender = appender_for(stream)
    appender.append(b"0\n")
    with file_size_limit(2):
        appender.append(b"1\n")
    wait_until(lambda: stream.read_bytes() == b"0\n1\n", "the retry in the background")
    assert appender.waiting == 0


def test_memory_is_bounded_and_the_oldest_lines_go_first(stream: Path, caplog, monkeypatch):
    monkeypatch.setattr(appender_module, "MAX_LINES", 10)
    appender = appender_for(stream)
    appender.append(b"begin\n")
    with file_size_limit(6):
        for line in numbered(0, 25):
            appender.append(line)
        assert appender.waiting == 10
    assert appender.flush()
    assert stream.read_bytes() == b"begin\n" + b"".join(numbered(15, 25))
    assert caplog.text.count("oldest lines are dropped") == 1


def test_bytes_in_memory_are_bounded_too(stream: Path, monkeypatch):
    monkeypatch.setattr(appender_module, "MAX_BYTES", 1000)
    appender = appender_for(stream)
    appender.append(b"begin\n")
    with file_size_limit(6):
        for _ in range(20):
            appender.append(b"x" * 99 + b"\n")
        assert appender.waiting == 10
        appender.append(b"x" * 2000 + b"\n")
        assert appender.waiting == 0
    appender.append(b"end\n")
    assert stream.read_bytes() == b"begin\nend\n"


def test_much_that_waits_is_written_in_several_batches(stream: Path, monkeypatch):
    monkeypatch.setattr(appender_module, "_BATCH_BYTES", 64)
    appender = appender_for(stream)
    appender.append(b"begin\n")
    with file_size_limit(6):
        for line in numbered(0, 1000):
            appender.append(line)
    assert appender.flush()
    assert stream.read_bytes() == b"begin\n" + b"".join(numbered(0, 1000))


def test_a_file_that_cannot_be_opened_is_tried_again(stream: Path, caplog):
    appender = appender_for(stream)
    stream.mkdir()  # fails for root as well, unlike permissions
    appender.append(b"0\n")
    assert appender.waiting == 1
    stream.rmdir()
    assert appender.flush()
    assert stream.read_bytes() == b"0\n"
    assert caplog.text.count("WARNING") == 1


@pytest.mark.parametrize("removed", ["file", "directory"])
def test_a_removed_stream_is_given_up_with_one_warning_and_never_made_again(stream: Path, removed: str, caplog):
    appender = appender_for(stream)
    appender.append(b"0\n")
    if removed == "file":
        stream.unlink()
    else:
        shutil.rmtree(stream.parent)
    for line in numbered(1, 4):
        appender.append(line)
    appender.flush()
    assert appender.is_removed
    assert not stream.exists()
    assert [record.getMessage() for record in caplog.records] == ["the run was removed: nothing more is recorded in it"]


def test_a_run_that_is_gone_before_the_first_line_stays_gone(stream: Path):
    appender = appender_for(stream, lambda: False)
    appender.append(b"0\n")
    assert list(stream.parent.iterdir()) == []


def test_a_file_opened_for_each_append_may_be_removed_or_rotated(stream: Path):
    appender = appender_for(stream, keep_open=False)
    appender.append(b"0\n")
    stream.unlink()
    appender.append(b"1\n")
    assert stream.read_bytes() == b"1\n"
    stream.rename(stream.with_suffix(".1"))
    appender.append(b"2\n")
    assert stream.read_bytes() == b"2\n"
    assert stream.with_suffix(".1").read_bytes() == b"1\n"


def test_descriptors_are_released_and_taken_again(stream: Path):
    appender = appender_for(stream)
    appender.append(b"0\n")
    before = len(os.listdir("/proc/self/fd"))
    appender.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2
    appender.append(b"1\n")
    assert stream.read_bytes() == b"0\n1\n"
    appender.close()


def test_an_append_within_an_append_of_the_same_thread_is_left_to_the_outer_one(tmp_path: Path):
    """As by a signal handler: `is_present` is called in the middle of an append."""
    stream = tmp_path / "events.jsonl"

    def interrupt() -> bool:
        if not stream.exists() and not nested:
            nested.append(True)
            appender.append(b"inner\n")
        return True

    nested: list[bool] = []
    appender = appender_for(stream, interrupt)
    appender.append(b"outer\n")
    assert stream.read_bytes() == b"outer\ninner\n"


def test_a_logging_handler_may_append_what_it_hears(stream: Path):
    appender = appender_for(stream)

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            appender.append(b"heard\n")

    handler = Recorder()
    logging.getLogger("runicorn").addHandler(handler)
    try:
        with file_size_limit(0):
            appender.append(b"0\n")
    finally:
        logging.getLogger("runicorn").removeHandler(handler)
    assert appender.flush()
    assert stream.read_bytes() == b"0\nheard\n"


def test_threads_lose_nothing_while_the_disk_is_full_now_and_then(stream: Path):
    appender = appender_for(stream)
    appender.append(b"begin\n")

    def work(name: int) -> None:
        for number in range(300):
            appender.append(b"%d %d\n" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    with file_size_limit(2000):
        for thread in threads:
            thread.start()
        wait_until(lambda: appender.waiting > 0, "the disk to be full")
    for thread in threads:
        thread.join()
    assert appender.flush()
    lines = stream.read_bytes().split(b"\n")[1:-1]
    for name in range(4):
        assert [line for line in lines if line.startswith(b"%d " % name)] == [b"%d %d" % (name, n) for n in range(300)]
