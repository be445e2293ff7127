"""Deleting versions, taking it back, and freeing what nobody needs any more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from runicorn_artifacts import deleting
from tests.plugins.artifacts.conftest import Make, Save
from tests.plugins.artifacts.test_saving import index_of, pool_files


def visible(storage: ArtifactStorage, name: str = "net") -> list[int]:
    return [item.version for item in storage.list_versions(name)]


def test_a_deleted_version_is_hidden_and_can_be_restored(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save("1"), save("2"), save("3")
    assert storage.delete_artifact_version("net", "model", 3)
    marker = (root / "artifacts/model/net/v3/.deleted").read_text()
    assert "\n" not in marker
    assert list(json.loads(marker)) == ["deleted_at", "deleted_by", "version", "artifact_name"]
    index = index_of(root)
    assert index["aliases"] == {"latest": 2}
    assert [(item["version"], item["status"], item["aliases"]) for item in index["versions"]] == [
        (1, "ready", []), (2, "ready", ["latest"]), (3, "deleted", []),
    ]  # fmt: skip
    assert visible(storage) == [1, 2]
    assert storage.list_artifacts()[0]["latest_version"] == 2
    [*_, shown] = storage.list_versions("net", include_deleted=True)
    assert (shown.version, shown.status) == (3, "deleted")
    assert storage.load_artifact("net")[0].version == 2
    assert storage.load_artifact("net", version=3)[0].status == "deleted"
    assert storage.restore_artifact_version("net", "model", 3)
    assert visible(storage) == [1, 2, 3]
    assert storage.load_artifact("net")[0].version == 3
    assert index_of(root)["aliases"] == {"latest": 3}


def test_deleting_again_keeps_the_first_marker(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save()
    storage.delete_artifact_version("net", "model", 1)
    before = (root / "artifacts/model/net/v1/.deleted").read_bytes(), index_of(root)
    assert storage.delete_artifact_version("net", "model", 1)
    assert ((root / "artifacts/model/net/v1/.deleted").read_bytes(), index_of(root)) == before


def test_an_artifact_with_deleted_versions_only_vanishes_from_the_list(storage: ArtifactStorage, save: Save) -> None:
    save(), save()
    for version in (1, 2):
        storage.delete_artifact_version("net", None, version)
    assert storage.list_artifacts() == []
    assert storage.list_versions("net") == []
    [item] = storage.list_artifacts(include_deleted=True)
    assert (item["num_versions"], item["latest_version"], item["aliases"]) == (2, 2, {})
    with pytest.raises(FileNotFoundError, match=r"^No versions found for artifact: net$"):
        storage.load_artifact("net")


def test_other_aliases_sleep_while_their_version_is_deleted(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save(), save()
    index = index_of(root)
    index["aliases"]["good"] = 1
    (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
    storage.delete_artifact_version("net", "model", 1)
    assert index_of(root)["aliases"] == {"latest": 2, "good": 1}
    with pytest.raises(ValueError, match="Alias 'good' not found for artifact net"):
        storage.load_artifact("net", alias="good")
    storage.restore_artifact_version("net", "model", 1)
    assert storage.load_artifact("net", alias="good")[0].version == 1


def test_a_purged_version_takes_its_own_content_with_it(root: Path, storage: ArtifactStorage, make: Make) -> None:
    def log(*contents: str) -> None:
        artifact = Artifact("net")
        for content in contents:
            artifact.add_file(make(content, content))
        storage.save_artifact(artifact, "r1", *artifact.staged)

    log("shared", "own of one")
    log("shared", "shared with a deleted one")
    log("shared with a deleted one")
    storage.delete_artifact_version("net", "model", 3)
    before = storage.get_storage_stats()["dedup_pool_size_bytes"]
    assert storage.delete_artifact_version("net", "model", 1, soft_delete=False)
    assert before - storage.get_storage_stats()["dedup_pool_size_bytes"] == len("own of one")
    storage.delete_artifact_version("net", "model", 2, soft_delete=False)
    assert {path.read_text() for path in pool_files(root).values()} == {"shared with a deleted one"}
    assert storage.restore_artifact_version("net", "model", 3)
    storage.delete_artifact_version("net", "model", 3, soft_delete=False)
    assert pool_files(root) == {}
    assert list((root / "artifacts" / ".dedup").iterdir()) == []
    assert list((root / "artifacts" / ".tmp").iterdir()) == []
    assert index_of(root)["versions"] == []
    assert index_of(root)["next_version"] == 4


def test_a_version_is_purged_while_the_pool_is_locked_and_its_content_is_freed_later(
    root: Path, storage: ArtifactStorage, save: Save, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from filelock import FileLock

    save("kept"), save("of one version")
    monkeypatch.setattr(deleting, "LOCK_S", 0.05)
    folder = storage.lookup.find("net")
    with FileLock(root / "artifacts/.lock"):
        assert deleting.purge(folder, 2, storage.content) == 0
    assert "`runicorn artifacts gc` removes them" in caplog.text
    assert visible(storage) == [1]
    assert {path.read_text() for path in pool_files(root).values()} == {"kept", "of one version"}
    assert storage.cleanup_orphaned_dedup() == 1
    assert {path.read_text() for path in pool_files(root).values()} == {"kept"}
    assert list((root / "artifacts/.tmp").iterdir()) == []


def test_purging_removes_the_aliases_of_the_version(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save(), save()
    index = index_of(root)
    index["aliases"] |= {"good": 2, "old": 1}
    (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
    storage.delete_artifact_version("net", "model", 2, soft_delete=False)
    assert index_of(root)["aliases"] == {"old": 1, "latest": 1}


def test_what_does_not_exist_is_not_deleted(storage: ArtifactStorage, save: Save, root: Path) -> None:
    save()
    for name, type, version in (("net", "model", 2), ("net", "dataset", 1), ("no", None, 1), ("..", None, 1)):
        assert not storage.delete_artifact_version(name, type, version)
        assert not storage.delete_artifact_version(name, type, version, soft_delete=False)
        assert not storage.restore_artifact_version(name, type, version)
    assert not (root / "artifacts/dataset").exists()


def test_orphans_in_the_pool_are_removed_and_counted(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save()
    kept = set(pool_files(root))
    for prefix in ("ab", "cd"):
        orphan = root / "artifacts" / ".dedup" / prefix / (prefix * 32)
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_text("nobody's")
    assert storage.cleanup_orphaned_dedup() == 2
    assert set(pool_files(root)) == kept
    assert storage.cleanup_orphaned_dedup() == 0


def test_content_of_an_unindexed_folder_is_not_an_orphan(root: Path, storage: ArtifactStorage, save: Save) -> None:
    save()
    (root / "artifacts/model/net/versions.json").write_text('{"versions": [], "aliases": {}}')
    assert storage.cleanup_orphaned_dedup() == 0
