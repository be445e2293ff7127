"""Reading streams that are files: offsets, torn tails, replaced files, and whatever else lies in their place."""

from __future__ import annotations

import os

import pytest

from runicorn.events import log as log_module
from runicorn.events.envelope import Lines, decode_data, encode_event
from runicorn.events.log import FileLog, Position, Stream, StreamReplaced, segments

KEY = "vision/resnet/runs/one"
STREAM = Stream("run", KEY)


def event(number: int) -> bytes:
    return encode_event(float(number), "metrics", {"n": number})


def numbers(lines: Lines) -> list[int]:
    return [decode_data(found)["n"] for found in lines.events]


@pytest.fixture
def log(tmp_path):
    (tmp_path / "root" / KEY).mkdir(parents=True)
    return FileLog(tmp_path / "root", tmp_path / "state")


@pytest.fixture
def path(log):
    return log.root / KEY / "events.jsonl"


def read_all(log: FileLog, limit: int) -> list[int]:
    found: list[int] = []
    after = 0
    while (lines := log.read(STREAM, after=after, limit=limit)).end > after:
        found += numbers(lines)
        after = lines.end
    return found


@pytest.mark.parametrize("limit", [1, 30, 61, 1000, 1 << 20])
def test_reading_in_pieces_of_any_size_gives_every_event_once(log, path, limit):
    path.write_bytes(b"".join(event(n) for n in range(50)) + event(50)[:-5])
    assert read_all(log, limit) == list(range(50))


def test_a_torn_last_line_is_read_once_it_is_completed(log, path):
    path.write_bytes(event(1) + event(2)[:-7])
    first = log.read(STREAM)
    assert numbers(first) == [1]
    assert numbers(log.read(STREAM, after=first.end)) == []
    with path.open("ab") as file:
        file.write(event(2)[-7:])
    assert numbers(log.read(STREAM, after=first.end)) == [2]


def test_the_position_is_given_only_when_nothing_complete_is_left(log, path):
    path.write_bytes(b"".join(event(n) for n in range(10)))
    assert log.read_level(STREAM, limit=100)[1] is None
    lines, position = log.read_level(STREAM)
    assert position == log.position(STREAM)
    with path.open("ab") as file:
        file.write(b'{"torn')
    _, position = log.read_level(STREAM, after=lines.end)
    assert position == log.position(STREAM)
    assert position is not None
    assert position.size == lines.end + 6


@pytest.mark.parametrize("content", [b"", b"x" * 10, event(9) * 10, b'{"ts":1.0,' + b"x" * 200 + b"\n"])
def test_a_stream_that_became_another_is_noticed(log, path, content):
    path.write_bytes(event(1) + event(2))
    lines = log.read(STREAM)
    path.write_bytes(content)
    with pytest.raises(StreamReplaced):
        log.read(STREAM, after=lines.end, head=lines.head)


def test_a_file_made_anew_in_the_same_size_has_another_position(log, path):
    path.write_bytes(event(1))
    before = log.position(STREAM)
    path.unlink()
    path.write_bytes(event(2))
    os.utime(path, ns=(1, 1))
    after = log.position(STREAM)
    assert before is not None
    assert after is not None
    assert before.size == after.size
    assert before != after


def test_what_is_not_a_file_is_no_stream(log, path):
    path.mkdir()
    assert log.position(STREAM) is None
    assert log.is_gone(STREAM)
    path.rmdir()
    os.mkfifo(path)
    assert log.position(STREAM) is None
    assert log.read(STREAM).events == []  # without waiting for a writer
    path.unlink()
    (log.root / "vision").rename(log.root / "aside")
    (log.root / "vision").touch()
    assert log.position(STREAM) is None
    assert log.is_gone(STREAM)


def test_a_line_beyond_all_reason_is_skipped_unread(log, path, monkeypatch):
    monkeypatch.setattr(log_module, "_MAX_LINE_BYTES", 4096)
    path.write_bytes(event(1) + b'{"x": "' + b"y" * 20_000 + b'"}\n' + event(2))
    assert read_all(log, 512) == [1, 2]
    bad = [line for after in (0, len(event(1))) for line in log.read(STREAM, after=after, limit=512).bad]
    assert [(line.offset, line.reason) for line in bad] == [(len(event(1)), "too long")]
    after = checksum = 0
    while (lines := log.read(STREAM, after=after, limit=512)).end > after:
        after, checksum = lines.end, lines.checksum(checksum)
        assert checksum == log.checksum(STREAM, after)
    with path.open("ab") as file:
        file.write(b"z" * 20_000)
    end = log.complete_end(STREAM)
    lines, position = log.read_level(STREAM, after=end, limit=512)
    assert (lines.events, lines.bad, lines.end) == ([], [], end)
    assert position == log.position(STREAM)


def test_a_line_of_megabytes_is_read_whole(log, path):
    big = encode_event(1.0, "metrics", {"n": 7, "text": "x" * (3 << 20)})
    path.write_bytes(event(1) + big + event(2))
    assert read_all(log, 1 << 10) == [1, 7, 2]


@pytest.mark.parametrize("tail", [b"", b"x", b"x" * 70_000, b"x" * 200_000])
def test_the_end_of_the_last_complete_line_is_found_from_the_end(log, path, tail):
    path.write_bytes(event(1) + event(2) + tail)
    assert log.complete_end(STREAM) == len(event(1) + event(2))
    path.write_bytes(tail)
    assert log.complete_end(STREAM) == 0


def test_the_start_of_a_line_is_found_from_any_offset(log, path):
    lines = [event(n) for n in range(5)]
    path.write_bytes(b"".join(lines))
    starts = [sum(map(len, lines[:n])) for n in range(6)]
    for offset in range(starts[-1] + 1):
        assert log.line_start(STREAM, offset) == min(start for start in starts if start >= offset)


def test_every_stream_is_listed_and_its_name_tells_its_kind(log, path):
    path.touch()
    (log.root / "runs" / "old").mkdir(parents=True)
    (log.root / "runs" / "old" / "events.jsonl").touch()
    (log.root / "artifacts" / "model" / "net").mkdir(parents=True)
    (log.root / "artifacts" / "model" / "net" / "events.jsonl").touch()
    for directory, name in ((log.root / ".runicorn" / "log", "00000001"), (log.state_dir / "log", "00000007")):
        directory.mkdir(parents=True)
        (directory / f"{name}.jsonl").touch()
        (directory / "lock").touch()
        (directory / "²3.jsonl").touch()
    streams = list(log.streams())
    assert streams == [
        Stream("store", ".runicorn/log/00000001"),
        Stream("store", "@state/log/00000007"),
        Stream("artifact", "artifacts/model/net"),
        Stream("run", "runs/old"),
        STREAM,
    ]
    for stream in streams:
        assert Stream.named(stream.name) == stream
        assert log.position(stream) is not None


def test_segments_are_in_order_and_a_missing_directory_has_none(tmp_path):
    for name in ("00000010.jsonl", "00000002.jsonl", "x.jsonl", "00000003.jsonl.lock"):
        (tmp_path / name).touch()
    assert [path.name for path in segments(tmp_path)] == ["00000002.jsonl", "00000010.jsonl"]
    assert segments(tmp_path / "missing") == []


def test_positions_compare_by_all_that_a_stat_tells(log, path):
    path.write_bytes(event(1))
    stat = path.stat()
    assert log.position(STREAM) == Position(stat.st_size, stat.st_ino, stat.st_mtime_ns)
