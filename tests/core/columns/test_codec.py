"""Frames as bytes: how large they are, and what damaged bytes do. That they survive is a property: tests/properties."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
import zstandard

from runicorn.columns import (
    DamagedFrame,
    Frame,
    build_frame,
    build_frame_from_lines,
    decode_frame,
    encode_frame,
    join_frame,
    outline_of,
    split_frame,
)


def training(rows: int, metrics: int, *, single: bool = False) -> Frame:
    """A run that logs random doubles, or such as were 32-bit floats, every 0.1 s or so."""
    generator = random.Random(1)
    now = 1.7e9
    ts, lines = [], []
    for step in range(rows):
        now += generator.uniform(0.05, 0.15)
        values = np.array([generator.random() for _ in range(metrics)])
        values = (values.astype(np.float32) if single else values).tolist()
        data = {f"metric_{i}": value for i, value in enumerate(values)} | {"global_step": step, "time": round(now, 6)}
        ts.append(round(now, 6))
        lines.append(msgspec.json.encode(data))
    return build_frame_from_lines(ts, lines)


@pytest.mark.parametrize(
    ("rows", "metrics", "single", "budget"),
    [(4096, 4, False, 8.0), (4096, 4, True, 4.7), (4096, 20, False, 7.3), (25, 4, False, 9.5), (25, 4, True, 6.5)],
)
def test_a_value_takes_less_than_ten_bytes_with_its_share_of_time_and_step(
    rows: int, metrics: int, single: bool, budget: float
) -> None:
    frame = training(rows, metrics, single=single)
    assert len(encode_frame(frame)) / (rows * metrics) < budget
    split = split_frame(frame)
    if rows == 4096:
        assert (len(split.index) + sum(map(len, split.columns.values()))) / (rows * metrics) < budget


def test_what_repeats_takes_next_to_nothing() -> None:
    frame = build_frame([1.0] * 4096, [{"lr": 0.1, "stage": "train", "n": i, "step": i} for i in range(4096)])
    assert len(encode_frame(frame)) < 400


def test_a_column_alone_is_read_from_its_own_bytes() -> None:
    frame = training(4096, 20)
    split = split_frame(frame)
    alone = join_frame(split.index, [split.columns["metric_7"]])
    assert list(alone.columns) == ["metric_7"]
    assert np.array_equal(alone.columns["metric_7"].bits, frame.columns["metric_7"].bits)
    assert len(split.columns["metric_7"]) < 7.5 * 4096
    assert len(split.columns["time"]) < 100


def test_an_outline_says_what_a_frame_has() -> None:
    events = [{"a": 0.5 * step, "same": 1, **({"rare": "text"} if step == 3 else {})} for step in range(100)]
    frame = build_frame([float(step) for step in range(100)], events)
    outline = outline_of(encode_frame(frame))
    assert (outline.rows, set(outline.keys)) == (100, {"a", "same", "rare"})
    with pytest.raises(DamagedFrame):
        outline_of(encode_frame(frame)[:-1])


def test_a_frame_without_rows_is_a_frame() -> None:
    assert decode_frame(encode_frame(build_frame([], []))).rows == 0


def test_a_column_of_another_chunk_is_refused() -> None:
    one, two = split_frame(training(100, 1)), split_frame(training(50, 1))
    with pytest.raises(DamagedFrame, match="other rows"):
        join_frame(one.index, two.columns.values())
    with pytest.raises(DamagedFrame, match="other rows"):
        join_frame(one.index, [one.index])
    with pytest.raises(DamagedFrame, match="no times"):
        decode_frame(one.columns["metric_0"])


def test_a_frame_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(DamagedFrame, match="version"):
        decode_frame(b"\x02" + encode_frame(build_frame([1.0], [{"x": 1}]))[1:])


def test_values_that_belong_to_no_column_are_refused() -> None:
    sound = encode_frame(build_frame([1.0, 2.0], [{"x": 1.5}, {"x": 2.5}]))
    raw = zstandard.ZstdDecompressor().decompress(sound[1:])
    with pytest.raises(DamagedFrame, match="no column"):
        decode_frame(sound[:1] + zstandard.ZstdCompressor().compress(raw + bytes(8)))


def test_a_blob_that_claims_to_be_huge_is_refused_before_memory_is_taken() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, write_content_size=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=1 << 40)
    with pytest.raises(DamagedFrame, match="size"):
        decode_frame(b"\x01" + compressor.compress(b"x" * 1000) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
