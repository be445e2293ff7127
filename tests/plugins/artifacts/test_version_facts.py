"""Reading versions from their files: what is damaged, deleted or half written is told as such."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_artifacts.version_facts import MISSING, VersionFacts, read_version
from tests.plugins.artifacts.artifact_folders import ArtifactFolder


@pytest.fixture
def net(tmp_path: Path) -> ArtifactFolder:
    net = ArtifactFolder(tmp_path, "model", "net")
    for version in (1, 2, 3):
        net.save(version)
    return net


def test_a_version_tells_what_its_metadata_says(tmp_path: Path, net: ArtifactFolder) -> None:
    assert read_version(tmp_path, "model", "net", 3) == VersionFacts(
        status="ready",
        size_bytes=7003,
        created_at=1003.0,
        description="number 3",
        lifecycle_stage="experimental",
        aliases=["latest"],
    )


@pytest.mark.parametrize(
    ("type", "name", "version"),
    [
        ("model", "net", 4),
        ("model", "net", 0),
        ("model", "net", -1),
        ("model", "other", 1),
        ("dataset", "net", 1),
        ("model", "..", 1),
        ("..", "artifacts", 1),
        ("model/net", "v1", 1),
        ("", "net", 1),
        (".tmp", "net", 1),
        ("model", "n\0et", 1),
        ("model", "n" * 5000, 1),
    ],
)
def test_what_does_not_exist_is_missing(
    tmp_path: Path, net: ArtifactFolder, type: str, name: str, version: int
) -> None:
    assert read_version(tmp_path, type, name, version) == MISSING


@given(type=st.text(max_size=20), name=st.text(max_size=20), version=st.integers(-(1 << 63), (1 << 63) - 1))
def test_any_name_can_be_looked_up(
    tmp_path_factory: pytest.TempPathFactory, type: str, name: str, version: int
) -> None:
    root = tmp_path_factory.getbasetemp()
    assert read_version(root, type, name, version) == MISSING


def test_latest_is_the_highest_version_that_is_not_deleted(tmp_path: Path, net: ArtifactFolder) -> None:
    net.aliases["latest"] = 1  # the index may be wrong about it
    net.write_index()
    net.soft_delete(3)
    aliases = {version: read_version(tmp_path, "model", "net", version).aliases for version in (1, 2, 3)}
    assert aliases == {1: [], 2: ["latest"], 3: []}


def test_aliases_come_from_the_index_and_sleep_while_deleted(tmp_path: Path, net: ArtifactFolder) -> None:
    net.aliases |= {"production": 2, "good": 2, "odd": "2"}  # type: ignore[dict-item]  # as a damaged file has it
    net.write_index()
    assert read_version(tmp_path, "model", "net", 2).aliases == ["good", "production"]
    net.soft_delete(2)
    assert read_version(tmp_path, "model", "net", 2).aliases == []


def test_a_deleted_version_still_tells_its_values(tmp_path: Path, net: ArtifactFolder) -> None:
    (net.version(3) / ".deleted").write_text("garbage")
    facts = read_version(tmp_path, "model", "net", 3)
    assert (facts.status, facts.size_bytes, facts.description) == ("deleted", 7003, "number 3")
    (net.version(3) / "manifest.json").unlink()
    assert read_version(tmp_path, "model", "net", 3).status == "deleted"


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text() + " ")


def list_unsafe_path(folder: Path) -> None:
    entries = {"files": [{"path": "../metadata.json", "size": (folder / "metadata.json").stat().st_size}]}
    write_manifest(folder, json.dumps(entries))


def write_manifest(folder: Path, text: str) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**metadata, "manifest_digest": None}))
    (folder / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        damage_manifest,
        list_unsafe_path,
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: write_manifest(folder, "[]"),
        lambda folder: write_manifest(folder, '{"files": {}}'),
        lambda folder: write_manifest(folder, '{"files": [5]}'),
        lambda folder: write_manifest(folder, '{"files": [{"path": "a\\u0000b", "size": 1}]}'),
        lambda folder: (folder / "files" / "weights.bin").unlink(),
        lambda folder: (folder / "files" / "weights.bin").write_text("longer than before"),
        lambda folder: shutil.rmtree(folder / "files"),
    ],
)
def test_a_damaged_version_is_corrupted_and_keeps_its_values(
    tmp_path: Path, net: ArtifactFolder, damage: Callable[[Path], None]
) -> None:
    damage(net.version(2))
    facts = read_version(tmp_path, "model", "net", 2)
    assert (facts.status, facts.size_bytes, facts.lifecycle_stage) == ("corrupted", 7002, "experimental")
    assert read_version(tmp_path, "model", "net", 3).status == "ready"


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null"])
def test_a_version_without_readable_metadata_has_no_values(
    tmp_path: Path, net: ArtifactFolder, content: str | None
) -> None:
    metadata = net.version(2) / "metadata.json"
    if content is None:
        metadata.unlink()
    else:
        metadata.write_text(content)
    assert read_version(tmp_path, "model", "net", 2) == VersionFacts(status="corrupted")


def test_each_damaged_field_falls_back_alone(tmp_path: Path, net: ArtifactFolder) -> None:
    net.save(
        4, created_at="yesterday", size_bytes=10**30, description=["x"], manifest_digest=5, lifecycle_stage="alpha"
    )
    facts = read_version(tmp_path, "model", "net", 4)
    assert (facts.created_at, facts.size_bytes, facts.description) == (None, None, "")
    assert (facts.status, facts.lifecycle_stage) == ("ready", "experimental")


def test_both_spellings_of_a_digest_are_accepted(tmp_path: Path, net: ArtifactFolder) -> None:
    metadata = json.loads((net.version(2) / "metadata.json").read_text())
    metadata["manifest_digest"] = "sha256:" + metadata["manifest_digest"].upper()
    (net.version(2) / "metadata.json").write_text(json.dumps(metadata))
    assert read_version(tmp_path, "model", "net", 2).status == "ready"


def test_the_stage_is_that_of_the_lifecycle_file_else_of_the_metadata(tmp_path: Path, net: ArtifactFolder) -> None:
    net.save(4, lifecycle_stage="production")
    assert read_version(tmp_path, "model", "net", 4).lifecycle_stage == "production"
    (net.version(4) / "lifecycle.json").write_text('{"lifecycle_stage": "archived"}')
    assert read_version(tmp_path, "model", "net", 4).lifecycle_stage == "archived"


@pytest.mark.parametrize("index", [None, "", "garbage", "[]"])
def test_without_an_index_the_versions_are_those_with_metadata(
    tmp_path: Path, net: ArtifactFolder, index: str | None
) -> None:
    if index is None:
        (net.folder / "versions.json").unlink()
    else:
        (net.folder / "versions.json").write_text(index)
    assert read_version(tmp_path, "model", "net", 3).aliases == ["latest"]
    (net.version(3) / "metadata.json").unlink()
    assert read_version(tmp_path, "model", "net", 3) == MISSING
    assert read_version(tmp_path, "model", "net", 2).aliases == ["latest"]


def test_a_complete_version_counts_before_it_is_in_the_index(tmp_path: Path, net: ArtifactFolder) -> None:
    net.save(4, indexed=False)
    assert read_version(tmp_path, "model", "net", 4).aliases == ["latest"]
    assert read_version(tmp_path, "model", "net", 3).aliases == []


def test_a_foreign_or_half_written_folder_is_no_version(tmp_path: Path, net: ArtifactFolder) -> None:
    net.save(4, indexed=False, name="other")
    net.save(5, indexed=False)
    (net.version(5) / "files" / "weights.bin").unlink()
    net.version(6).mkdir()
    assert [read_version(tmp_path, "model", "net", version) for version in (4, 5, 6)] == [MISSING] * 3
    assert read_version(tmp_path, "model", "net", 3).aliases == ["latest"]


def test_type_folders_of_older_pythons_are_read(tmp_path: Path) -> None:
    ArtifactFolder(tmp_path, "model", "old", folder="ArtifactType.MODEL").save(1)
    assert read_version(tmp_path, "model", "old", 1).status == "ready"


def test_paths_with_the_separator_of_windows_are_found(tmp_path: Path, net: ArtifactFolder) -> None:
    net.save(4, {"deep/file.txt": "abc"})
    write_manifest(net.version(4), json.dumps({"files": [{"path": "deep\\file.txt", "size": 3}]}))
    assert read_version(tmp_path, "model", "net", 4).status == "ready"
