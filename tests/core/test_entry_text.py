"""Changing one entry in the text of a file gives the text that writing the whole file would give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.entry_text import MISSING, entry_in, with_entries
from runicorn.files import as_file

KEYS = st.one_of(
    st.sampled_from(["a", "b", 'a": ', "\n  ", '"a"', "é", "", "tags", "a\\"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), KEYS, st.sampled_from(["\n  }", '"a": {', "},"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.dictionaries(KEYS, VALUES | st.just(MISSING), max_size=4))
def test_changed_entries_give_the_text_that_the_whole_would(entries: dict[str, Any], changes: dict[str, Any]) -> None:
    expected = {**entries, **changes}
    expected = {key: value for key, value in expected.items() if value is not MISSING}
    assert with_entries(as_file(entries), changes) == as_file(expected)


@given(st.dictionaries(KEYS, VALUES, max_size=5), KEYS)
def test_an_entry_is_found_wherever_it_is(entries: dict[str, Any], other: str) -> None:
    text = as_file(entries)
    for key, value in entries.items():
        assert as_file(entry_in(text, key)) == as_file(value)
    if other not in entries:
        assert entry_in(text, other) is MISSING


def test_a_text_of_another_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="laid out"):
        with_entries(b'{"a": 1}', {"b": 2})
