"""A log that is held still while others append to it."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from runicorn.events.append import StreamWriter
from runicorn.events.frozen import FrozenLog
from runicorn.events.log import Stream, StreamReplaced
from tests.stores import make_run, metrics_event

STREAM = Stream("run", "p/n/runs/a")
LINE = metrics_event(global_step=1).encode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, STREAM.name, events=LINE * 2)


@pytest.fixture
def log(tmp_path: Path) -> FrozenLog:
    return FrozenLog(tmp_path, tmp_path / "state")


def read(log: FrozenLog, after: int = 0) -> int:
    """Where reading ends; all of it is then read."""
    lines, position = log.read_level(STREAM, after=after)
    assert position == log.position(STREAM)
    return lines.end


def test_what_is_appended_after_the_first_look_is_not_there(run: Path, log: FrozenLog) -> None:
    position = log.position(STREAM)
    StreamWriter(run / "events.jsonl").append(LINE)
    assert log.position(STREAM) == position
    assert read(log) == 2 * len(LINE)
    log.let_go()
    assert read(log) == 3 * len(LINE)


def test_a_torn_line_stays_torn_when_it_is_completed(run: Path, log: FrozenLog) -> None:
    with (run / "events.jsonl").open("ab") as events:
        events.write(LINE[:10])
        events.flush()
        assert log.position(STREAM)
        events.write(LINE[10:])
    assert read(log) == 2 * len(LINE)
    assert log.is_held(STREAM)


def test_a_stream_that_is_replaced_cannot_be_held(run: Path, log: FrozenLog) -> None:
    log.position(STREAM)
    (run / "other").write_bytes(LINE * 5)
    (run / "other").rename(run / "events.jsonl")
    log.read_level(STREAM)
    assert not log.is_held(STREAM)
    assert read(log) == 5 * len(LINE)
    assert log.is_held(STREAM)


def test_a_stream_that_is_truncated_cannot_be_held(run: Path, log: FrozenLog) -> None:
    log.position(STREAM)
    (run / "events.jsonl").write_bytes(LINE)
    with pytest.raises(StreamReplaced):
        log.read_level(STREAM, after=2 * len(LINE))
    assert not log.is_held(STREAM)


def test_a_stream_that_is_removed_cannot_be_held(run: Path, log: FrozenLog) -> None:
    log.position(STREAM)
    (run / "events.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        log.read_level(STREAM)
    assert log.position(STREAM) is None


def test_a_stream_that_is_gone_when_its_bytes_are_looked_at_is_held_no_more(run: Path, log: FrozenLog) -> None:
    position = log.position(STREAM)
    assert log.checksum(STREAM, 2 * len(LINE)) == zlib.crc32(LINE * 2)
    (run / "events.jsonl").unlink()
    assert log.position(STREAM) == position
    with pytest.raises(FileNotFoundError):
        log.checksum(STREAM, 2 * len(LINE))
    assert log.position(STREAM) is None
