"""Which step and which time an event has, and what a frame of them says."""

from __future__ import annotations

import math

import pytest

from runicorn.columns import build_frame, build_frame_from_lines, concat


def steps(*data: dict[str, object]) -> list[object]:
    frame = build_frame([0.0] * len(data), data)
    return frame.step.values(0, frame.rows)


def times(*events: tuple[float, object]) -> list[object]:
    frame = build_frame([ts for ts, _ in events], [{"time": time} for _, time in events])
    return frame.time.values(0, frame.rows)


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (7, 7), (-7, -7), (10**30, 10**30), (2.7, 2), (-2.7, -2), (1e30, int(1e30)), (True, 1), (False, 0), ("5", 5),
        ("-5", -5), ("5.0", None), ("", None), ("x", None), (None, None), (math.nan, None), (math.inf, None), ([5], None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_step_is_coerced_as_the_contract_says(value: object, step: int | None) -> None:
    assert steps({"step": 1}, {"global_step": value}, {"step": 3}) == [1, step, 3]


def test_a_step_that_nobody_can_convert_is_none() -> None:
    frame = build_frame([0.0, 0.0], [{"step": 10**4300}, {"step": 1}])
    assert frame.step.rows is not None
    assert frame.step.rows.tolist() == [1]


def test_global_step_hides_step_even_when_it_is_null() -> None:
    assert steps({"global_step": None, "step": 1}, {"step": 2, "global_step": 3}, {"step": 4}, {}) == [None, 3, 4, None]


def test_the_time_of_an_event_is_its_own_finite_number_or_else_that_of_its_line() -> None:
    assert times((1.0, 2.5), (1.0, 3), (1.0, True), (1.0, "2"), (1.0, math.nan), (1.0, None), (1.0, 10**400)) == [
        2.5, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0,
    ]  # fmt: skip
    assert times((math.nan, 2.5), (math.nan, None), (math.inf, None), (1.0, None)) == [2.5, None, None, 1.0]


def test_times_that_equal_the_column_time_are_the_same_column() -> None:
    frame = build_frame([0.0, 0.0], [{"time": 1.5}, {"time": 2.5}])
    assert frame.time is frame.columns["time"]


def test_a_payload_that_is_no_object_makes_no_row() -> None:
    frame = build_frame([1.0, 2.0, 3.0], [None, {"x": 1}, [1]])
    assert (frame.rows, frame.time.values(0, 1)) == (1, [2.0])
    assert build_frame_from_lines([1.0, 2.0, 3.0], [b"null", b'{"x":1}', b"[1]"]).rows == 1


def test_keys_that_are_no_columns_still_make_a_row() -> None:
    frame = build_frame([1.0], [{"epoch": 3, "step": 1, "global_step": 2}])
    assert (frame.rows, dict(frame.columns)) == (1, {})


def test_lone_surrogates_in_keys_and_texts_are_replaced() -> None:
    lone = "a\ud800"
    frame = build_frame([1.0, 2.0], [{lone: "\udc00b"}, {lone: 1, "a\ufffd": 2}])
    assert frame.columns["a\ufffd"].values(0, 2) == ["\ufffdb", 2]


def test_one_line_that_is_no_json_does_not_hide_its_neighbours() -> None:
    lines = [
        b'{"x":1}',
        b'{"x":NaN}',
        b'{"x":',
        b'{"x":"\xff2"}',
        b'{"x":' + b"[" * 100_000 + b"}",
        b'{"x":3} {"x":4}',
        b'{"x":5}',
    ]
    frame = build_frame_from_lines([0.0] * len(lines), lines)
    assert list(map(str, frame.columns["x"].values(0, frame.rows))) == ["1", "nan", "2", "5"]


def test_a_line_with_two_objects_is_no_event() -> None:
    lines = [b'{"x":%d.5}' % i for i in range(1000)]
    for _ in range(2):  # the second time with what was learnt about these keys
        build_frame_from_lines([0.0] * 1000, lines)
    lines[500] = b'{"x":1} {"x":2}'
    assert build_frame_from_lines([0.0] * 1000, lines).columns["x"].values(499, 501) == [499.5, 501.5]
    assert build_frame_from_lines([0.0] * 2, [b'{"new":1} {"new":2}', b'{"new":3}']).columns["new"].values(0, 1) == [3]


def test_keys_may_change_at_any_line_of_a_long_run() -> None:
    lines = [b'{"loss":%d.5,"global_step":%d}' % (i, i) for i in range(2000)]
    for _ in range(3):
        assert build_frame_from_lines([0.0] * 2000, lines).columns["loss"].rows is None
    lines[1000] = b'{"loss":1.5,"new":true,"global_step":1000}'
    for _ in range(3):
        frame = build_frame_from_lines([0.0] * 2000, lines)
        assert frame.columns["new"].values(999, 1002) == [None, True, None]
        assert frame.columns["loss"].values(1000, 1001) == [1.5]


def test_a_key_of_its_own_in_every_event_costs_no_more_than_its_cells() -> None:
    lines = [b'{"k%d":1.5,"step":%d}' % (i, i) for i in range(3000)]
    frame = build_frame_from_lines([0.0] * 3000, lines)
    assert len(frame.columns) == 3000
    assert all(len(column) == 1 for column in frame.columns.values())


def test_concatenated_frames_keep_columns_that_only_some_have() -> None:
    one = build_frame([1.0], [{"a": 1.5, "stage": "train", "step": 1}])
    two = build_frame([2.0, math.nan], [{"b": 1, "stage": "val", "step": 10**30}, {"a": "x", "stage": "train"}])
    both = concat([one, two, one])
    assert {key: column.values(0, 4) for key, column in both.columns.items()} == {
        "a": [1.5, None, "x", 1.5],
        "b": [None, 1, None, None],
        "stage": ["train", "val", "train", "train"],
    }
    assert both.step.values(0, 4) == [1, 10**30, None, 1]
    assert both.time.values(0, 4) == [1.0, 2.0, None, 1.0]
    assert concat([two, one, two.slice(0, 1), build_frame([1.0], [{"step": 10**31}])]).step.values(0, 5) == [
        10**30, None, 1, 10**30, 10**31,
    ]  # fmt: skip
    assert both.columns["stage"].objects == ["train", "val"]
    assert concat([]).rows == 0
