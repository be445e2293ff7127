"""Entries of a run's artifact files, as they are read from events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_artifacts.entries import CREATED, USED, Entry, read_entries

GOOD = {"name": "net", "type": "model", "version": 3, "created_at": 5.0, "used_at": 6.0, "size_bytes": 7}


def test_the_time_is_that_of_the_direction() -> None:
    assert read_entries({"artifacts": [GOOD]}, CREATED) == [Entry("model", "net", 3, 7, 5.0)]
    assert read_entries({"artifacts": [GOOD]}, USED) == [Entry("model", "net", 3, 7, 6.0)]


@pytest.mark.parametrize(
    "bad",
    [None, 5, "x", [], {}, GOOD | {"name": 5}, GOOD | {"type": None}, GOOD | {"version": "3"}, GOOD | {"version": True},
     GOOD | {"version": 3.0}, GOOD | {"version": 1 << 64}],
)  # fmt: skip
def test_a_malformed_entry_is_skipped_and_the_others_count(bad: Any) -> None:
    assert read_entries({"artifacts": [GOOD, bad, GOOD]}, CREATED) == [Entry("model", "net", 3, 7, 5.0)] * 2


def test_what_a_well_formed_entry_lacks_is_unknown() -> None:
    odd = {"name": "a\ud800b", "type": "model", "version": 1, "size_bytes": "big", "created_at": float("nan")}
    assert read_entries({"artifacts": [odd]}, CREATED) == [Entry("model", "a\ufffdb", 1, None, None)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["artifacts", "name", "type", "version", "used_at", "size_bytes"]), inner)
    ),
    max_leaves=20,
)


@given(st.none() | st.dictionaries(st.just("artifacts"), json_values))
def test_any_file_can_be_read(content: dict[str, Any] | None) -> None:
    for entry in read_entries(content, USED):
        assert entry.name.encode()
