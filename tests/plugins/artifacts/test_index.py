"""`versions.json`: the short ways of reading and writing it give what the long ones give."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runicorn.plugin import parse_json
from runicorn_artifacts.index import ArtifactIndex, ArtifactVersionInfo

numbers = st.integers(-2, 12) | st.sampled_from([1 << 62, 1 << 63, 1 << 70])
times = st.floats(0, 2e9) | st.sampled_from([0.0, -0.0, 1e-7, 1e16, 1e300])
texts = st.text(max_size=4)
wrong = st.none() | st.booleans() | texts | st.floats() | st.lists(st.integers(), max_size=2)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, now and then with something wrong in one."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(field, field, wrong) for name, field in fields.items()})


items = objects(
    version=numbers, created_at=times | numbers, created_by_run=texts, size_bytes=numbers, num_files=numbers,
    status=st.sampled_from(["ready", "deleted", "odd"]), aliases=st.lists(texts, max_size=2), more=wrong,
)  # fmt: skip
contents = objects(
    artifact_name=texts, artifact_type=texts, versions=st.lists(items, max_size=4),
    aliases=st.dictionaries(texts, numbers, max_size=3), created_at=times, updated_at=times, next_version=numbers,
)  # fmt: skip
well_formed = st.builds(
    ArtifactIndex,
    texts,
    texts,
    st.lists(
        st.builds(
            ArtifactVersionInfo,
            st.integers(1, 9),
            times,
            texts,
            st.integers(0, 1 << 62),
            st.integers(0, 9),
            st.sampled_from(["ready", "deleted"]),
            st.lists(texts, max_size=2),
        ),
        max_size=4,
    ),
    st.dictionaries(texts, st.integers(1, 9), max_size=3),
    times,
    times,
    st.integers(1, 99) | st.none(),
)


@given(contents)
def test_what_is_read_is_the_same_whatever_is_wrong_with_the_file(content: dict[str, Any]) -> None:
    data = json.dumps(content).encode()
    assert ArtifactIndex.from_bytes(data) == ArtifactIndex.from_dict(parse_json(data))


@given(
    st.binary(max_size=30)
    | st.sampled_from([b"[]", b"null", b"\xef\xbb\xbf{}", b'{"a": NaN}', b'{"artifact_name": "\\ud800"}'])
)
def test_what_is_no_index_is_none(data: bytes) -> None:
    try:
        content = parse_json(data)
    except ValueError:
        content = None
    expected = ArtifactIndex.from_dict(content) if isinstance(content, dict) else None
    assert ArtifactIndex.from_bytes(data) == expected


@given(well_formed)
def test_the_file_is_byte_for_byte_what_json_dumps_writes(index: ArtifactIndex) -> None:
    assert index.to_bytes() == json.dumps(index.to_dict(), ensure_ascii=False, indent=2).encode()


def test_saving_moves_latest_and_leaves_deleted_versions_out() -> None:
    index = ArtifactIndex("net", "model", [ArtifactVersionInfo(1), ArtifactVersionInfo(2)], {"best": 1, "good": 1})
    index.put(ArtifactVersionInfo(3, status="deleted"))
    index.settle()
    assert [item.aliases for item in index.versions] == [["best", "good"], ["latest"], []]
    assert index.highest == 3
