"""The event codec: whatever is logged comes back, and whatever a file holds, no bad line hides another."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runicorn.events.envelope import Lines, decode_data, decode_event, encode_event, has_non_finite
from runicorn.files import dump_json, parse_json

characters = st.characters(codec=None, categories=None)  # lone surrogates and control characters included
texts = st.text(characters, max_size=20)
numbers = st.one_of(
    st.integers(),
    st.integers(min_value=10**25, max_value=10**35),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 10**30, -(10**30), 2**63, 2**64, 5e-324]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
payloads = st.dictionaries(texts, values, max_size=5)
times = st.floats(min_value=0, max_value=4e9)

good_lines = st.builds(
    lambda ts, data, kind: encode_event(ts, kind, data),
    times,
    payloads,
    st.sampled_from(["metrics", "image", "run.finished", "some.thing-else", "ünïcode"]),
)
garbage = st.one_of(
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" ")),
    st.sampled_from(
        [
            b"",
            b"   \t ",
            b"\xef\xbb\xbf",
            b"null",
            b"[1, 2]",
            b"{",
            b"}",
            b'{"ts": 1, "type": "metrics", "data": ',
            b'{"ts": 1, "type": "a", "data": 1}{"ts": 2, "type": "b", "data": 2}',
            b'{"ts": 1, "type": "a", "data": {}} trailing',
            b'{"ts": 1, "data":',
            b"{}}",
            b'{}}{"x":1}',
            b"\x00" * 30,
            b"[" * 5000,
            b'{"ts":1,"type":"deep","data":' + b"[" * 3000 + b"]" * 3000 + b"}",
        ]
    ),
)


def clean(value: Any) -> Any:
    """What must come back: lone surrogates become U+FFFD, tuples lists; everything else is as it was."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, where NaN equals NaN and 0.0 is not -0.0."""
    if isinstance(left, float) and isinstance(right, float):
        if left != left or right != right:
            return left != left and right != right
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return left == right


def one_by_one(data: bytes, start: int) -> tuple[list[tuple[int, float, str, Any]], list[int]]:
    """The reference: split at newlines, take every line alone."""
    events: list[tuple[int, float, str, Any]] = []
    bad: list[int] = []
    offset = start
    for line in data.split(b"\n")[:-1]:
        try:
            event = decode_event(line)
        except ValueError:
            bad.append(offset)
        else:
            if event is not None:
                events.append((offset, event.ts, event.type, decode_data(event)))
        offset += len(line) + 1
    return events, bad


def decoded(lines: Lines) -> list[tuple[int, float, str, Any]]:
    return [
        (offset, event.ts, event.type, decode_data(event))
        for offset, event in zip(lines.offsets, lines.events, strict=True)
    ]


@given(times, payloads)
@example(1.5, {"loss": math.nan, "big": 10**30, "bad": "\ud800", "zero": -0.0})
@example(1.5, {"\udfff": {"nested": [math.inf, {"x": "\ud83d\ude00"}]}})
def test_a_payload_comes_back_as_it_was_logged(ts, data):
    lines = Lines(encode_event(ts, "metrics", data), 0)
    assert not lines.bad
    [event] = lines.events
    assert (event.ts, event.type) == (ts, "metrics")
    assert same(decode_data(event), clean(data))


@given(payloads)
def test_an_event_is_one_line_of_utf_8_json(data):
    line = encode_event(1.0, "metrics", data)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["type"] == "metrics"
    line.decode("utf-8")


@given(st.lists(st.one_of(good_lines, garbage.map(lambda line: line + b"\n")), max_size=12), st.integers(0, 10**12))
@example([b'{"ts":1,"data":\n', b'{}}{"ts":2}\n'], 0)
@example([b'{"ts":1,"data":{}\n', b"}\n", b'{"ts":2}{"ts":3}\n'], 7)
@example([b'{"ts":1,"type":"a","data":{}}\r\n', b'{"ts":2,"type":"b","data":{}}\r\n'], 0)
@example([b'\xef\xbb\xbf{"ts":1,"type":"a","data":{}}\n', b'{"ts":2,"type":"b","data":{}}\n'], 0)
def test_decoding_many_lines_at_once_is_decoding_them_one_by_one(pieces, start):
    data = b"".join(pieces)
    lines = Lines(data, start)
    events, bad = one_by_one(data, start)
    assert same(list(map(list, decoded(lines))), list(map(list, events)))
    assert [line.offset for line in lines.bad] == bad
    assert (lines.start, lines.end) == (start, start + len(data))
    for offset in lines.offsets:
        assert offset == start or data[offset - start - 1 : offset - start] == b"\n"


@given(st.lists(good_lines, min_size=1, max_size=5), st.lists(garbage, min_size=1, max_size=5), st.randoms())
def test_garbage_between_lines_hides_no_event(good, bad, random):
    pieces = [(line, True) for line in good] + [(line + b"\n", False) for line in bad]
    random.shuffle(pieces)
    data = b"".join(line for line, _ in pieces)
    expected: list[int] = []
    offset = 0
    for line, is_event in pieces:
        if is_event:
            expected.append(offset)
        offset += len(line)
    assert set(expected) <= set(Lines(data, 0).offsets)


@given(
    st.lists(st.one_of(good_lines, good_lines, garbage.map(lambda line: line + b"\n")), max_size=12),
    st.integers(0, 10**12),
    st.data(),
)
def test_some_offsets_are_found_as_all_are(pieces: list[bytes], start: int, data: st.DataObject) -> None:
    for lines in (Lines(b"".join(pieces), start), Lines(b"".join(p for p in pieces if p.startswith(b"{")), start)):
        numbers = range(len(lines.events))
        places = sorted(data.draw(st.sets(st.sampled_from(numbers)))) if numbers else []
        found = lines.offsets_of(places)
        assert found == [lines.offsets[place] for place in places]
        assert lines.offsets_of(places) == found


def test_the_fast_way_is_taken_for_plain_lines_and_gives_the_same_offsets():
    data = b"".join(encode_event(float(i), "metrics", {"loss": i, "text": "}\\n{"}) for i in range(100))
    fast = Lines(data, 50)
    assert "offsets" not in vars(fast)  # decoded at once: offsets are worked out when somebody asks
    slow = Lines(data + b"garbage\n", 50)
    assert "offsets" in vars(slow)
    assert list(fast.offsets) == list(slow.offsets)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"ts": 1}{"ts": 2}', "not JSON"),
        (b'{"ts": NaN, "data": %s}' % (b"[" * 300 + b"]" * 300), "nested too deeply"),
        (b'{"data": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_line_says_why(line, reason):
    lines = Lines(line + b"\n", 0)
    assert [(bad.offset, bad.reason) for bad in lines.bad] == [(0, reason)]


def test_data_that_nests_too_deeply_is_null():
    [event] = Lines(b'{"ts": 1, "type": "metrics", "data": {"x": %s}}\n' % (b"[" * 300 + b"]" * 300), 0).events
    assert decode_data(event) is None


def test_a_value_that_spans_lines_is_no_event_and_hides_no_neighbour():
    data = b'{"ts": 1, "type": "a", "data":\n{"x": 1}}\n{"ts": 2, "type": "b", "data": {}}\n'
    lines = Lines(data, 0)
    assert [event.type for event in lines.events] == ["b"]
    assert [bad.offset for bad in lines.bad] == [0, 31]


def test_a_number_of_ten_thousand_digits_is_null_and_the_rest_of_the_line_counts():
    digits = b"7" * 10_000
    lines = Lines(b'{"ts": 1.5, "type": "metrics", "data": {"big": %s, "loss": 0.5}}\n' % digits, 0)
    [event] = lines.events
    assert decode_data(event) == {"big": None, "loss": 0.5}


@pytest.mark.parametrize("ts", [b"null", b"true", b'"5"', b"NaN", b"1e999", b"[]", b"9" * 400])
def test_an_unusable_time_is_nan_and_the_event_is_kept(ts):
    [event] = Lines(b'{"ts": %s, "type": "metrics", "data": {"loss": 1}}\n' % ts, 0).events
    assert event.ts != event.ts
    assert decode_data(event) == {"loss": 1}


@pytest.mark.parametrize("data", [{"x": object()}, {"x": {1, object()}}, {"x": 10**5000}])
def test_what_json_cannot_express_is_refused(data):
    with pytest.raises((TypeError, ValueError)):
        encode_event(1.0, "metrics", data)


def test_a_value_that_contains_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        encode_event(1.0, "metrics", {"x": endless})
    with pytest.raises(ValueError, match=r"nested|Circular"):
        dump_json(endless)


@given(values)
def test_non_finite_numbers_are_found_wherever_they_are(value):
    text = json.dumps(value)
    bare = json.loads(text, parse_constant=lambda _: "non-finite!")
    assert has_non_finite(value) == ("non-finite!" in json.dumps(bare) and bare != value)


@given(values)
def test_stored_json_is_read_as_it_was_written(value):
    assert same(parse_json(dump_json(value)), clean(value))


@given(st.binary(max_size=80))
def test_reading_arbitrary_bytes_gives_a_value_or_a_value_error(data):
    try:
        value = parse_json(data)
    except ValueError:
        return
    dump_json(value)
