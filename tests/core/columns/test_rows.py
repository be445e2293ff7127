"""The contract's answers from frames: merging, order, columns, encoding."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runicorn.columns import (
    Frame,
    build_frame,
    build_frame_from_lines,
    decode_frame,
    encode_frame,
    encode_table,
    rows_by_step,
    rows_by_time,
)
from runicorn.events.envelope import Lines
from tests import reference_metrics


def by_step(*data: dict[str, object], ts: Sequence[float] | None = None) -> Any:
    return answered(rows_by_step([build_frame(ts or [0.0] * len(data), data)]))


def by_time(*events: tuple[float, dict[str, object]]) -> Any:
    return answered(rows_by_time([build_frame([ts for ts, _ in events], [data for _, data in events])]))


def answered(table: Any) -> Any:
    return json.loads(b"".join(encode_table(table)))


def test_later_values_of_a_step_overwrite_earlier_ones_also_with_null_and_nan() -> None:
    answer = by_step(
        {"global_step": 1, "a": 1, "b": 1, "c": 1, "d": 1},
        {"global_step": 2, "a": 5},
        {"global_step": 1, "a": None, "b": math.nan, "c": [1], "e": "x"},
    )
    assert answer == {
        "columns": ["global_step", "a", "b", "c", "d", "e"],
        "rows": [
            {"global_step": 1, "a": None, "b": None, "c": 1, "d": 1, "e": "x"},
            {"global_step": 2, "a": 5, "b": None, "c": None, "d": None, "e": None},
        ],
    }


def test_steps_ascend_numerically_at_any_magnitude() -> None:
    found = by_step(*({"step": step} for step in (3, -1, 10**30, 2, -(10**30), 2**63, 10)))
    assert [row["global_step"] for row in found["rows"]] == [-(10**30), -1, 2, 3, 10, 2**63, 10**30]


def test_columns_stand_by_code_point_and_only_those_of_usable_events() -> None:
    answer = by_step({"step": 1, "b": 1, "é": 1, "Z": 1, "": 1}, {"step": "x", "lost": 1}, {"step": 2, "lists": [1]})
    assert answer["columns"] == ["global_step", "", "Z", "b", "é"]


def test_keys_that_no_struct_field_may_have_are_encoded_too() -> None:
    keys = ['a"b', "a\nb", "a\\b", "class", "f0", "a,b", "\u2028", "\0"]
    answer = by_step({"step": 1, **{key: i for i, key in enumerate(keys)}})
    assert answer["rows"] == [{"global_step": 1, **{key: i for i, key in enumerate(keys)}}]


def test_numbers_arrive_digit_for_digit() -> None:
    frame = build_frame(
        [0.0], [{"step": 1, "a": 10**30, "b": -0.0, "c": 2**53 + 1, "d": True, "e": 1.0, "f": math.inf}]
    )
    text = b"".join(encode_table(rows_by_step([frame])))
    assert b'"a":1000000000000000000000000000000,"b":-0.0,"c":9007199254740993,"d":true,"e":1.0,"f":null' in text


def test_no_usable_event_is_an_answer_without_columns() -> None:
    empty = b'{"columns":[],"rows":[]}'
    for frames in ([], [build_frame([math.nan], [{"loss": 1}])]):
        assert b"".join(encode_table(rows_by_step(frames))) == empty
        assert b"".join(encode_table(rows_by_time(frames))) == empty


def test_times_are_relative_rounded_and_merged() -> None:
    answer = by_time(
        (100.0, {"global_step": 2, "loss": 1}),
        (99.5, {"loss": 2, "time": "noon"}),
        (100.0000001, {"acc": 3}),
        (math.nan, {"loss": 4, "lost": 1}),
    )
    assert answer == {
        "columns": ["time", "global_step", "acc", "loss"],
        "rows": [
            {"time": 0.0, "global_step": None, "acc": None, "loss": 2},
            {"time": 0.5, "global_step": 2, "acc": 3, "loss": 1},
        ],
    }


def test_rows_by_time_have_a_global_step_even_if_no_event_has_a_step() -> None:
    assert by_time((1.0, {"loss": 1}))["columns"] == ["time", "global_step", "loss"]


def test_times_too_far_apart_to_subtract_are_null() -> None:
    assert [row["time"] for row in by_time((1e308, {}), (-1e308, {}))["rows"]] == [0.0, None]


def test_a_long_table_is_encoded_in_pieces_of_at_most_2000_rows() -> None:
    frame = build_frame([0.0] * 5001, [{"step": i, "x": i / 2} for i in range(5001)])
    pieces = list(encode_table(rows_by_step([frame])))
    assert max(piece.count(b"{") for piece in pieces) <= 2000
    assert [row["x"] for row in json.loads(b"".join(pieces))["rows"]] == [i / 2 for i in range(5001)]


def test_a_long_run_with_every_oddity_gives_what_the_reference_gives(tmp_path: Path) -> None:
    lines: list[str] = []
    for i in range(20_000):
        odd = {700: "NaN", 701: "1e400", 702: "1" + "0" * 40, 703: "null", 704: '"text"', 705: "[1]"}.get(
            i % 997, f"{i / 7}"
        )
        step = {300: "NaN", 301: '"5"', 302: "true", 303: str(10**20)}.get(i % 4999, str(i % 15_000))
        validation = f'"val":{i},"stage":"s{i // 1000}",' if i % 10 == 0 else ""
        time = 1.7e9 + i / 64
        lines.append(
            f'{{"ts":{time},"type":"metrics","data":{{"loss":{odd},{validation}"global_step":{step},"time":{time}}}}}'
        )
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines) + "\n")
    events = Lines(path.read_bytes(), 0).events
    frames: list[Frame] = []
    for start in range(0, len(events), 4096):
        part = events[start : start + 4096]
        frame = build_frame_from_lines([event.ts for event in part], [event.data for event in part])
        frames.append(decode_frame(encode_frame(frame)))
    assert answered(rows_by_step(frames)) == reference_metrics.metrics_step(path)
    assert answered(rows_by_time(frames)) == reference_metrics.metrics(path)
