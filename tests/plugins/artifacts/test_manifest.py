"""Manifests as they are read, whoever wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.files import parse_json
from runicorn_artifacts.manifest import ArtifactManifest

ODD: list[Any] = [
    None, True, 0, -1, 5, 5.0, 5.5, 1 << 62, 1 << 63, 10**30, 10**400, float("nan"), float("inf"), "", "5", "a/b", "a\\b",
    "é", "\ud800", [], [1], {}, {"a": 1},
]  # fmt: skip
odd = st.sampled_from(ODD)
entries = st.fixed_dictionaries(
    {},
    optional={
        "path": st.sampled_from(["a", "a/b", "a\\b"]) | odd, "size": st.integers(0, 9) | odd,
        "digest": st.just("sha256:00") | odd, "modified_at": st.floats(0, 9) | odd, "other": odd,
    },
)  # fmt: skip
good_entries = st.fixed_dictionaries(
    {"path": st.sampled_from(["a", "a/b", "a\\b"]), "size": st.integers(0, 9), "digest": st.just("sha256:00")},
    optional={"modified_at": st.floats(0, 9) | st.none() | st.integers(0, 9)},
)
references = st.fixed_dictionaries(
    {}, optional={"uri": odd, "checksum": odd, "size": st.integers(0, 9) | odd, "metadata": odd}
)
manifests = st.fixed_dictionaries(
    {},
    optional={
        "files": st.lists(good_entries, max_size=3) | st.lists(entries | odd, max_size=3) | odd,
        "references": st.lists(references | odd, max_size=2) | odd, "total_size": st.integers(0, 9) | odd,
        "total_files": odd, "created_at": st.floats(0, 9) | odd,
    },
)  # fmt: skip


def by_field(data: bytes) -> ArtifactManifest | None:
    """Field by field, as 0.4.0's files have to be read."""
    try:
        content = parse_json(data)
    except ValueError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("files", []), list):
        return None
    return ArtifactManifest.from_dict(content) if all(isinstance(e, dict) for e in content.get("files", [])) else None


@given(manifests | odd)
def test_the_short_way_reads_what_the_long_one_does(content: Any) -> None:
    data = json.dumps(content).encode()
    assert ArtifactManifest.from_bytes(data) == by_field(data)


@pytest.mark.parametrize("levels", [100, 195, 196, 197, 198, 199, 200, 250, 5000])
def test_deeply_nested_references_are_readable_or_not_as_everywhere(levels: int) -> None:
    metadata = '{"a":' + "[" * levels + "]" * levels + "}"
    data = f'{{"files": [], "references": [{{"uri": "s3://b", "metadata": {metadata}}}]}}'.encode()
    assert ArtifactManifest.from_bytes(data) == by_field(data)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", "\ufeff{}".encode(), b'{"files": null}', b'{"files": [1]}']
)
def test_what_is_no_manifest(data: bytes) -> None:
    assert ArtifactManifest.from_bytes(data) == by_field(data)
