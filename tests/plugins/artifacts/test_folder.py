"""The folder of an artifact: what a look at it costs, however many versions and files there are."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.statistics import storage_statistics
from runicorn_artifacts.verifying import content_bytes
from tests.plugins.artifacts import artifact_folders

VERSIONS, FILES = 8, 600


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    made = artifact_folders.ArtifactFolder(root, "model", "net")
    for version in range(1, VERSIONS + 1):
        made.save(version, {f"a directory {n % 10}/file {n}": str(n) for n in range(FILES)})
    return root


@pytest.fixture
def traced() -> Iterator[None]:
    """Without the collector: what is let go of is free at once."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


def peak(look: Callable[[], object]) -> int:
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    look()
    return tracemalloc.get_traced_memory()[1] - before


def folder(root: Path) -> ArtifactFolder:
    return ArtifactFolder(root / "artifacts/model/net", "model", "net")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "look",
    [
        lambda root: [folder(root).status(version) for version in folder(root).versions],
        lambda root: storage_statistics(Lookup(root).artifacts(), 0, True, False),
        lambda root: content_bytes([folder(root)]),
    ],
    ids=["statuses", "statistics", "verify"],
)
def test_a_look_at_all_versions_keeps_one_manifest_at_a_time(root: Path, look: Callable[[Path], object]) -> None:
    one = peak(lambda: folder(root).status(1))
    assert peak(lambda: look(root)) < 3 * one


@pytest.mark.usefixtures("traced")
def test_one_folder_asked_for_all_versions_keeps_one_manifest(root: Path) -> None:
    one = peak(lambda: folder(root).status(1))
    asked = folder(root)
    assert peak(lambda: [asked.status(version) for version in asked.versions]) < 3 * one


def test_a_version_is_sound_only_with_all_its_files(tmp_path: Path) -> None:
    made = artifact_folders.ArtifactFolder(tmp_path, "model", "net")
    files = made.save(1, {"a/b": "12", "c": ""}) / "files"
    path = tmp_path / "artifacts/model/net"

    def status() -> str:
        return ArtifactFolder(path, "model", "net").status(1)

    assert status() == "ready"
    os.truncate(files / "a/b", 1)
    assert status() == "corrupted"
    (files / "a/b").write_text("34")
    assert status() == "ready"
    (files / "c").unlink()
    assert status() == "corrupted"
    (files / "c").symlink_to(files / "a/b")
    assert status() == "corrupted"


def test_what_a_manifest_reads_as_does_not_depend_on_what_else_is_wrong_with_it(tmp_path: Path) -> None:
    made = artifact_folders.ArtifactFolder(tmp_path, "model", "net")
    path = made.save(1, {"a": "12"}) / "manifest.json"
    content = json.loads(path.read_text())
    content["references"] = [{"uri": "s3://b", "checksum": None, "size": 5, "metadata": {"a": [1, {"b": 2.5}]}}]
    path.write_text(json.dumps(content))
    plain = folder(tmp_path).manifest(1)
    path.write_text(json.dumps({**content, "x": float("nan")}))
    odd = folder(tmp_path).manifest(1)
    assert plain is not None
    assert odd is not None
    assert (plain.content, plain.digest != odd.digest) == (odd.content, True)
