"""What programs written for 0.4.0 find in `runicorn.artifacts`: names, semi-private attributes, texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runicorn as rn
from runicorn import artifacts
from runicorn.artifacts import (
    Artifact,
    ArtifactIndex,
    ArtifactManifest,
    ArtifactMetadata,
    ArtifactStatus,
    ArtifactStorage,
    ArtifactVersionInfo,
    FileEntry,
    LineageEdge,
    LineageGraph,
    LineageNode,
    LineageTracker,
    ReferenceEntry,
)
from tests.plugins.artifacts.conftest import Make, Save

EXPORTS = """ArtifactType ArtifactStatus FileEntry ReferenceEntry ArtifactMetadata ArtifactManifest ArtifactVersionInfo
ArtifactIndex LineageNode LineageEdge LineageGraph Artifact ArtifactStorage LineageTracker create_artifact_storage"""
FILE = FileEntry("a/b.bin", 3, "sha256:ab", 5.0)
REFERENCE = ReferenceEntry("s3://b/c", "sha256:1", 1000, {"region": "eu"})
VERSION = ArtifactVersionInfo(2, 5.0, "r1", 1003, 1, "deleted", ["good"])
NODE = LineageNode("artifact", "net:v1", "net v1", {"type": "model"})
EDGE = LineageEdge("r1", "net:v1", "produces", 5.0)
VALUES = [
    FILE,
    REFERENCE,
    VERSION,
    NODE,
    EDGE,
    LineageGraph("net:v1", [NODE], [EDGE]),
    ArtifactManifest([FILE], [REFERENCE], 1003, 1, 1, 5.0),
    ArtifactMetadata("net", "model", 2, 5.0, 6.0, "r1", "ann", 1003, 1, 1, "ready", {"acc": 0.5}, "a net", ["t"]),
    ArtifactIndex("net", "model", [VERSION], {"good": 2}, 5.0, 6.0, 3),
]


@pytest.mark.parametrize("name", EXPORTS.split())
def test_every_name_is_exported(name: str) -> None:
    assert name in artifacts.__all__
    assert getattr(artifacts, name).__name__ == name


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_data_classes_read_what_they_write_and_ignore_unknown_keys(value: Any) -> None:
    written = value.to_dict()
    assert type(value).from_dict({**json.loads(json.dumps(written)), "of_a_later_version": [1]}) == value
    assert all(getattr(value, key) == written[key] for key in written if not isinstance(written[key], list))


def test_the_status_is_a_text() -> None:
    assert list(ArtifactStatus) == ["pending", "uploading", "ready", "failed", "deleted"]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s.load_artifact("net", version=1, alias="latest"), ValueError, "Cannot specify both version and alias"),
        *((lambda s, version=version: s.load_artifact("net", version=version), ValueError,
           f"Invalid version number: {version}") for version in ("x", "1", 0, True)),
        (lambda s: s.download_artifact("net", "model", 9), FileNotFoundError, "Artifact version not found: net:v9"),
        (lambda s: s.download_artifact("no", None, 1), FileNotFoundError, "Artifact version not found: no:v1"),
        (lambda s: s.get_artifact_file_path("net", "code", 1, "x"), FileNotFoundError,
         "Artifact version not found: net:v1"),
    ],
)  # fmt: skip
def test_texts_of_the_store(
    storage: ArtifactStorage, save: Save, call: Callable[[ArtifactStorage], object], error: type[Exception], text: str
) -> None:
    save()
    with pytest.raises(error) as caught:
        call(storage)
    assert str(caught.value) == text


def test_no_artifact_is_of_an_unknown_type(storage: ArtifactStorage, save: Save) -> None:
    save()
    assert storage.list_artifacts("unknown") == []


def test_a_loaded_artifact_has_its_tags_and_nothing_staged(root: Path, make: Make) -> None:
    with rn.Run("p", str(root), None, "n", capture_env=False) as run:
        staged = Artifact("net").add_file(make()).add_reference("s3://b/c", size=5, name="c").add_tags("good", "old")
        assert staged._staged_references == [ReferenceEntry("s3://b/c", None, 5, {"name": "c"})]
        run.log_artifact(staged)
        loaded = run.use_artifact("net:v1")
        assert (loaded._tags, loaded._staged_files, loaded._staged_references) == (["good", "old"], [], [])
        assert loaded.get_references() == staged._staged_references
        with pytest.raises(ValueError, match=r"^Artifact has no files or references to save$"):
            run.log_artifact(loaded)
    assert [item.version for item in run.artifact_storage.list_versions("net")] == [1]


def test_a_run_folder_with_nothing_but_its_used_artifacts_is_in_the_lineage(root: Path, save: Save) -> None:
    save()
    for parent in ("p/n/runs", "runs"):
        folder = root / parent / f"in_{parent[0]}"
        folder.mkdir(parents=True)
        used = {"artifacts": [{"name": "net", "type": "model", "version": 1, "used_at": 5.0}]}
        (folder / "artifacts_used.json").write_text(json.dumps(used))
    graph = LineageTracker(root).build_lineage_graph("net", "model", 1)
    uses = [(edge.source, edge.target) for edge in graph.edges if edge.edge_type == "uses"]
    assert uses == [("net:v1", "in_p"), ("net:v1", "in_r")]
    assert graph.to_dict()["root_artifact"] == "net:v1"
