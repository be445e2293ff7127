"""An index that is changed on a server says what it would say after the same change at home."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runicorn_artifacts.index import ArtifactIndex
from runicorn_remote.smart import index as indexes

numbers = st.integers(1, 6)


@st.composite
def stored_indexes(draw: st.DrawFn) -> dict[str, Any]:
    listed = draw(st.lists(numbers, unique=True).map(sorted))
    items = [
        {
            "version": version, "created_at": 1.0, "created_by_run": "r", "size_bytes": 1, "num_files": 1,
            "status": draw(st.sampled_from(["ready", "deleted"])), "aliases": ["stale"],
        }
        for version in listed
    ]  # fmt: skip
    aliases = draw(st.dictionaries(st.sampled_from(["good", "production", "latest"]), numbers))
    index = {"artifact_name": "net", "artifact_type": "model", "versions": items, "aliases": aliases, "created_at": 1.0}
    index |= draw(st.sampled_from([{}, {"next_version": 9}, {"next_version": 2}]))
    return index


def at_home(index: dict[str, Any]) -> ArtifactIndex:
    return ArtifactIndex.from_dict(copy.deepcopy(index))


def shown(index: dict[str, Any]) -> tuple[object, ...]:
    read = ArtifactIndex.from_dict(index)
    return [item.to_dict() | {"aliases": sorted(item.aliases)} for item in read.versions], read.aliases, read.highest


@given(stored_indexes(), numbers, st.booleans())
def test_deleting_and_restoring(index: dict[str, Any], version: int, is_deleted: bool) -> None:
    expected = at_home(index)
    item = expected.item(version)
    if item is not None:
        item.status = "deleted" if is_deleted else "ready"
    expected.settle()
    indexes.set_deleted(index, version, is_deleted)
    assert shown(index) == shown(expected.to_dict())
    assert index["updated_at"] > 1.0


@given(stored_indexes(), numbers)
def test_removing_for_good(index: dict[str, Any], version: int) -> None:
    expected = at_home(index)
    highest = max(expected.highest, version)
    expected.remove(version)
    expected.settle()
    expected.next_version = highest + 1
    indexes.remove_version(index, version)
    assert shown(index) == shown(expected.to_dict())
    assert index["next_version"] == highest + 1


@given(stored_indexes(), st.one_of(st.none(), numbers))
def test_setting_an_alias(index: dict[str, Any], version: int | None) -> None:
    expected = at_home(index)
    expected.aliases.pop("good", None)
    if version is not None:
        expected.aliases["good"] = version
    expected.settle()
    indexes.set_alias(index, "good", version)
    assert shown(index) == shown(expected.to_dict())


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_an_index_holds_it_can_be_changed(content: Any) -> None:
    index = {"versions": content, "aliases": content, "next_version": content, "kept": content}
    indexes.set_deleted(index, 1, True)
    indexes.set_alias(index, "good", 1)
    indexes.remove_version(index, 1)
    assert index["kept"] == content
    assert index["next_version"] >= 2
