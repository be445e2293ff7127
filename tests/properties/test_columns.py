"""Any file of events, however it is cut into pieces, stored and read back, gives the contract's answers."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.columns import (
    CHUNK_ROWS,
    DamagedFrame,
    Frame,
    Piece,
    Table,
    build_frame,
    build_frame_from_lines,
    concat,
    decode_frame,
    encode_frame,
    encode_table,
    join_frame,
    plan_fold,
    rows_by_step,
    rows_by_time,
    split_frame,
)
from runicorn.columns.rows import round_to_microseconds
from runicorn.events.envelope import Event, Lines, decode_data
from runicorn.events.run import METRICS
from tests import reference_metrics

NUMBERS = [
    "0", "1", "1.0", "-0", "-0.0", "true", "false", "null", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "2.7", "-2.7",
    "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1" + "0" * 30,
    "-1" + "0" * 30, "1e300", "5e-324", "0.1", "1.7e-8", "9" * 4298, "7" * 5000, "1704067200.123456", "1704067200.1234565",
]  # fmt: skip
OTHERS = [
    '"5"', '"5.0"', '" 5 "', '"-3"', '""', '"train"', '"é"', r'"\u00e9"', r'"\ud800"', r'"a\udc00b"', r'"\ud83d\ude00"',
    r'"\""', "[]", "[1,2]", "{}", '{"a":1}', "[" * 2000 + "]" * 2000,
]  # fmt: skip
KEYS = [
    '"loss"', '"acc"', '"time"', '"time"', '"stage"', '"epoch"', '"step"', '"global_step"', '"global_step"', '""', '"class"',
    r'"a\"b"', r'"a\nb"', '"é"', r'"\u00e9"', r'"\ud800"', r'"\ufffd"', '"f0"',
]  # fmt: skip

values = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(OTHERS),
    st.integers(-5, 5).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
times = st.one_of(st.floats(0, 10).map(lambda t: repr(1704067200 + t)), st.integers(0, 3).map(str), values)
odd_data = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=5).map(
    lambda items: "{" + ",".join(f"{key}:{value}" for key, value in items) + "}"
)


@st.composite
def usual_data(draw: st.DrawFn) -> str:
    step = draw(st.one_of(st.integers(-3, 12).map(str), values))
    return f'{{"loss":{draw(values)},"global_step":{step},"time":{draw(times)}}}'


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    odd = [
        b"",
        b" \r",
        b"{",
        b"[1]",
        b"null",
        b"5",
        b'{"ts":1',
        b"\xff\xfe",
        b'{"type":"metrics"}',
        b'{"data":{"loss":1}}',
    ]
    line = draw(
        st.one_of(
            st.tuples(times, st.one_of(usual_data(), usual_data(), odd_data, st.sampled_from(["null", "[]", "3"]))).map(
                lambda event: f'{{"ts":{event[0]},"type":"metrics","data":{event[1]}}}'.encode()
            ),
            st.just(b'{"ts":1.5,"type":"image","data":{"key":"k","path":"p","step":1,"caption":null}}'),
            st.sampled_from(odd),
        )
    )
    match draw(st.integers(0, 12)):
        case 0:
            return line + b"\r"
        case 1:
            return b"\xef\xbb\xbf" + line
        case 2:
            return line.replace(b'"loss"', b'"lo\xffss"').replace(b'"train"', b'"tr\xc3ain"')
        case _:
            return line


files = st.lists(lines(), max_size=40).map(lambda found: b"".join(line + b"\n" for line in found))


def metric_events(data: bytes) -> list[Event]:
    return [event for event in Lines(data, 0).events if event.type == METRICS]


def frame_of(events: list[Event]) -> Frame:
    return build_frame_from_lines([event.ts for event in events], [event.data for event in events])


def answer(table: Table) -> Any:
    return json.loads(b"".join(encode_table(table)))


def exact(value: Any) -> Any:
    """Values that differ in kind, sign of zero or order of columns differ in `repr`; -0.0 equals 0.0 otherwise."""
    return repr([value["columns"], [sorted(row.items()) for row in value["rows"]]])


def content(frame: Frame) -> Any:
    """Everything that a frame says, as Python objects."""
    columns = {"\0time": frame.time, "\0step": frame.step, **frame.columns}
    said = {}
    for key, column in sorted(columns.items()):
        kinds = iter(column.kind_of_each().tolist())
        rows = range(frame.rows) if column.rows is None else column.rows.tolist()
        said[key] = [(row, next(kinds), repr(column.values(row, row + 1)[0])) for row in rows]
    return frame.rows, said


def assert_answers(data: bytes, frames: list[Frame]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        path.write_bytes(data)
        assert exact(answer(rows_by_step(frames))) == exact(reference_metrics.metrics_step(path))
        assert exact(answer(rows_by_time(frames))) == exact(reference_metrics.metrics(path))


@pytest.mark.slow(4)
@given(files)
@settings(max_examples=400, deadline=None)
def test_any_file_gives_the_answers_of_the_contract(data: bytes) -> None:
    assert_answers(data, [frame_of(metric_events(data))])


@given(files, st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_file_cut_anywhere_stored_and_read_back_gives_the_answers_of_the_contract(
    data: bytes, cuts: list[int]
) -> None:
    events = metric_events(data)
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    stored = [encode_frame(frame_of(events[a:b])) for a, b in pairwise(edges)]
    assert_answers(data, [decode_frame(blob) for blob in stored])


@given(files)
@settings(max_examples=150, deadline=None)
def test_both_ways_to_build_a_frame_agree(data: bytes) -> None:
    events = metric_events(data)
    payloads: list[object] = []
    for event in events:
        try:
            payloads.append(decode_data(event))
        except ValueError:
            payloads.append(None)
    expected = content(build_frame([event.ts for event in events], payloads))
    for _ in range(3):  # the second and third time with what was learnt about these keys
        assert content(frame_of(events)) == expected


@given(files)
@settings(max_examples=150, deadline=None)
def test_a_frame_survives_storing_whole_and_by_column(data: bytes) -> None:
    frame = frame_of(metric_events(data))
    assert content(decode_frame(encode_frame(frame))) == content(frame)
    pieces = split_frame(frame)
    assert content(join_frame(pieces.index, pieces.columns.values())) == content(frame)
    for key, blob in pieces.columns.items():
        alone = content(frame.select([key]))
        assert content(join_frame(pieces.index, [blob])) == alone
        assert content(decode_frame(encode_frame(frame), [key])) == alone


@given(files, st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_slices_put_together_are_the_whole(data: bytes, one: int, two: int) -> None:
    frame = frame_of(metric_events(data))
    first, second = sorted((min(one, frame.rows), min(two, frame.rows)))
    parts = [frame.slice(0, first), frame.slice(first, second), frame.slice(second, frame.rows)]
    assert content(concat(parts)) == content(frame)


class Series:
    """The stored pieces of one stream, as a projection keeps them."""

    def __init__(self) -> None:
        self.stored: dict[Piece, Callable[[], Frame]] = {}
        self.sealed_blobs = 0
        self.rows_written = 0

    @property
    def pieces(self) -> list[Piece]:
        return sorted(self.stored)

    def append(self, new: Frame) -> None:
        pieces = self.pieces
        end = pieces[-1].start + pieces[-1].rows if pieces else 0
        fold = plan_fold([piece for piece in pieces if not piece.sealed], end, new.rows)
        frames = fold.frames([self.stored.pop(piece)() for piece in fold.absorbed], new)
        for piece, frame in zip(fold.written, frames, strict=True):
            assert frame.rows == piece.rows
            self.rows_written += piece.rows
            if piece.sealed:
                split = split_frame(frame)
                self.stored[piece] = lambda split=split: join_frame(split.index, split.columns.values())
            else:
                blob = encode_frame(frame)
                self.stored[piece] = lambda blob=blob: decode_frame(blob)

    def read(self) -> Frame:
        return concat(self.stored[piece]() for piece in self.pieces)


sizes = st.one_of(st.integers(1, 5), st.integers(40, 130), st.integers(500, 5000))


@given(st.lists(sizes, min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_any_cutting_of_a_stream_into_batches_is_stored_as_the_same_content(batches: list[int]) -> None:
    total = sum(batches)
    whole = build_frame(
        [1.7e9 + i / 8 for i in range(total)],
        [
            {"loss": 1 / (i + 1), "global_step": i, **({"val": i, "stage": f"s{i // 100}"} if i % 7 == 0 else {})}
            for i in range(total)
        ],
    )
    series = Series()
    start = 0
    for rows in batches:
        series.append(whole.slice(start, start + rows))
        start += rows
        pieces = series.pieces
        assert [piece.start for piece in pieces] == [sum(p.rows for p in pieces[:i]) for i in range(len(pieces))]
        sealed = [piece for piece in pieces if piece.sealed]
        tail = pieces[len(sealed) :]
        assert not any(piece.sealed for piece in tail)
        assert len(sealed) == start // CHUNK_ROWS
        assert all(sum(piece.rows for piece in tail if piece.rows < size) < size for size in (8, 64, 512, 4096))
        assert len(tail) <= 28
    assert content(series.read()) == content(whole)
    assert series.rows_written <= 5 * total


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_frame_are_called_damaged(garbage: bytes) -> None:
    for data in (garbage, b"\x01" + garbage, b"\x01\x28\xb5\x2f\xfd" + garbage):
        with pytest.raises(DamagedFrame):
            decode_frame(data)


SOUND = encode_frame(
    build_frame(
        [1.0, 2.0, 3.0, 4.0],
        [{"loss": 0.5, "step": 1}, {"loss": 1, "stage": "a", "step": 10**30}, {"x": True}, {"x": None, "time": "no"}],
    )
)


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_noticed_or_changes_nothing(place: int, change: int) -> None:
    damaged = bytearray(SOUND)
    damaged[place] ^= change
    with contextlib.suppress(DamagedFrame):  # a few bits have no meaning in zstd
        assert content(decode_frame(bytes(damaged))) == content(decode_frame(SOUND))
    with pytest.raises(DamagedFrame):
        decode_frame(SOUND[:place])
    with pytest.raises(DamagedFrame):
        decode_frame(SOUND + bytes([change]))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=500, deadline=None)
def test_a_frame_that_lies_about_itself_is_damaged_or_readable(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(zstandard.ZstdDecompressor().decompress(SOUND[1:]))
    for place, byte in changes:
        raw[place] = byte
    try:
        frame = decode_frame(SOUND[:1] + zstandard.ZstdCompressor().compress(bytes(raw)))
    except DamagedFrame:
        return
    if frame.rows <= 1000:
        json.loads(b"".join(encode_table(rows_by_step([frame]))))
        json.loads(b"".join(encode_table(rows_by_time([frame]))))


seconds = st.one_of(
    st.floats(0, 1e5),
    st.floats(0, allow_nan=False),
    st.integers(0, 1 << 40).map(lambda k: k / (1 << 22)),  # what differences of wall times look like; some are ties
    st.integers(0, 10**9).map(lambda k: (k + 0.5) / 1e6),
)


@given(st.lists(seconds, max_size=20))
@settings(max_examples=300, deadline=None)
def test_times_are_rounded_as_python_rounds(values: list[float]) -> None:
    rounded = round_to_microseconds(np.array(values, np.float64)).tolist()
    assert rounded == [round(value, 6) for value in values]
