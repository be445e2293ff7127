"""What the read model says of artifacts, from their streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import ArtifactStorage
from runicorn.host import PluginHost, Selection
from tests.plugins.artifacts.conftest import Save
from tests.projecting import InProcess


@pytest.fixture
def projector(root: Path, tmp_path: Path, storage: ArtifactStorage) -> Iterator[InProcess]:
    projector = InProcess(root, tmp_path / "state", PluginHost.load(Selection(frozenset({"artifacts"}))))
    yield projector
    projector.close()


def rows(projector: InProcess, sql: str) -> list[tuple[Any, ...]]:
    projector.sweep()
    return projector.models["artifacts"].connection.execute(sql).fetchall()


def test_versions_follow_from_the_stream(projector: InProcess, storage: ArtifactStorage, save: Save) -> None:
    save("12345", acc=0.5), save("1"), save("1")
    storage.delete_artifact_version("net", "model", 2)
    storage.delete_artifact_version("net", "model", 3, soft_delete=False)
    found = rows(projector, "SELECT key, version, size_bytes, num_files, deleted_at > 0, stage FROM artifact_version")
    assert found == [
        ("artifacts/model/net", 1, 5, 1, None, "experimental"),
        ("artifacts/model/net", 2, 1, 1, 1, "experimental"),
    ]
    [(details,)] = rows(projector, "SELECT details FROM artifact_version WHERE version = 1")
    assert b'"metadata":{"acc":0.5}' in details
    storage.restore_artifact_version("net", "model", 2)
    assert rows(projector, "SELECT count(*) FROM artifact_version WHERE deleted_at IS NULL") == [(2,)]


def test_the_artifact_says_what_its_index_says(
    projector: InProcess, storage: ArtifactStorage, save: Save, root: Path
) -> None:
    from tests.plugins.artifacts.test_saving import index_of

    for change in (save, save, lambda: storage.delete_artifact_version("net", "model", 1)):
        change()
        index = index_of(root)
        assert rows(projector, "SELECT type, name, created_at, updated_at FROM artifact") == [
            ("model", "net", index["created_at"], index["updated_at"])
        ]


def test_an_artifact_whose_folder_is_gone_is_forgotten(projector: InProcess, save: Save, root: Path) -> None:
    save()
    assert rows(projector, "SELECT count(*) FROM artifact") == [(1,)]
    (root / "artifacts/model/net").rename(root / "artifacts/model/.gone")
    assert rows(projector, "SELECT count(*) FROM artifact") == [(0,)]
    assert rows(projector, "SELECT count(*) FROM artifact_version") == [(0,)]
