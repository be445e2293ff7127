"""Log lines: however the bytes arrive and wherever the file is entered, the frames are those of the whole file."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from runicorn_runs.logs.file import LogFile
from runicorn_runs.logs.lines import LineSplitter
from runicorn_runs.logs.tail import find_tail

_PARTS = st.one_of(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c", b"\xe2\x80\xa8", b"\xe3\x80\x80"]
    ),
    st.sampled_from(
        [b"epoch 1", "損失".encode(), "é".encode(), "🦄".encode(), b"\xff", b"\x80\x80\x80\x80\x80", b"\xf0\x9f"]
    ),
    st.binary(max_size=8),
)
_BYTES = st.lists(_PARTS, max_size=40).map(b"".join)


def _frames(data: bytes) -> list[str]:
    """What the whole of `data` says, line by line."""
    texts = [line.decode("utf-8", "ignore") for line in re.split(rb"\r\n|\r|\n", data)]
    return [text for text in texts if text.strip()]


def _complete(data: bytes) -> bytes:
    return data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(_BYTES, st.lists(st.integers(0, 400), max_size=20))
def test_frames_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter()
    frames = [frame for part in _cut(data, cuts) for frame in splitter.feed(part)]
    assert frames == _frames(_complete(data))
    assert frames + splitter.close() == _frames(data)


@given(_BYTES, st.lists(st.integers(0, 400), max_size=20))
def test_flushing_early_loses_no_text(data: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter()
    frames: list[str] = []
    for part in _cut(data, cuts):
        frames += splitter.feed(part) + splitter.flush()
        assert not splitter.holds_text
    frames += splitter.close()
    assert _without_space("".join(frames)) == _without_space("".join(_frames(data)))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=80), st.integers(4, 9))
def test_long_lines_come_in_pieces_of_whole_characters(line: str, piece_bytes: int) -> None:
    splitter = LineSplitter(piece_bytes=piece_bytes)
    frames = splitter.feed(line.encode() + b"\n")
    assert all(len(frame.encode()) <= piece_bytes for frame in frames)
    assert _without_space("".join(frames)) == _without_space(line)


@given(_BYTES, st.integers(0, 12), st.integers(1, 9))
def test_the_tail_is_the_last_complete_lines_and_what_follows_them(data: bytes, lines: int, chunk_bytes: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "logs.txt")
        path.write_bytes(data)
        tail = find_tail(LogFile(path), lines, chunk_bytes=chunk_bytes)
    complete = _frames(_complete(data))
    splitter = LineSplitter()
    assert splitter.feed(data[tail.offset :]) == complete[len(complete) - min(lines, len(complete)) :]
    assert splitter.close() == _frames(data)[len(complete) :]
    assert tail.older == (len(complete) > lines)


def _without_space(text: str) -> str:
    return "".join(text.split())
