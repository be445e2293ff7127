"""A change of an artifact is made as a whole or not at all, wherever the disk fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from runicorn_artifacts import promoting
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.verifying import verify
from tests.plugins.artifacts.conftest import Make, Save
from tests.plugins.artifacts.full_disk import no_room_for, not_replaceable
from tests.plugins.artifacts.test_saving import index_of, pool_files

Fails = Callable[[], AbstractContextManager[None]]

NO_ROOM: dict[str, Fails] = {
    "index": lambda: no_room_for("*/net/versions.json*"),
    "events": lambda: no_room_for("*/net/events.jsonl"),
}


def state(root: Path) -> dict[str, Any]:
    """All that the store says of the artifact, file by file."""
    folder = root / "artifacts/model/net"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def events(root: Path) -> list[str]:
    lines = (root / "artifacts/model/net/events.jsonl").read_text().splitlines()
    return [json.loads(line)["type"] for line in lines]


def stages(root: Path) -> dict[int, str]:
    folder = Lookup(root).find("net")
    return {version: folder.lifecycle(version).stage for version in folder.versions}


def promote(root: Path, version: int, *to: str) -> None:
    for stage in to:
        promoting.promote(Lookup(root).find("net"), version, stage)


class TestSaving:
    @pytest.mark.parametrize("fails", NO_ROOM.values(), ids=NO_ROOM)
    def test_a_save_that_finds_no_room_leaves_nothing_and_the_next_one_has_its_number(
        self, root: Path, save: Save, fails: Fails
    ) -> None:
        assert save() == 1
        before = state(root)
        with fails(), pytest.raises(OSError, match="No space left"):
            save("2")
        assert state(root) == before
        assert [path.name for path in (root / "artifacts/.tmp").iterdir()] == []
        assert save("2") == 2

    def test_a_version_that_exists_is_answered_though_its_index_cannot_be_replaced(
        self, root: Path, storage: ArtifactStorage, save: Save, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert save() == 1
        with not_replaceable("*/versions.json"), caplog.at_level(logging.WARNING):
            assert save("2") == 2
        assert "No space left" in caplog.text
        assert [item.version for item in storage.list_versions("net")] == [1, 2]
        assert save("3") == 3
        assert [item["version"] for item in index_of(root)["versions"]] == [1, 2, 3]
        assert events(root) == ["artifact.version_created"] * 3
        assert [path.name for path in (root / "artifacts/model/net").glob("*.tmp")] == []

    def test_whatever_interrupts_the_record_leaves_nothing(
        self, root: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        save()
        before = state(root)
        with monkeypatch.context() as broken:
            broken.setattr("runicorn_artifacts.changing.append_artifact_events", interrupted)
            with pytest.raises(KeyboardInterrupt):
                save("2")
        assert state(root) == before
        assert save("2") == 2

    def test_what_a_killed_save_left_is_recorded_with_the_next_change_and_only_then(
        self, root: Path, storage: ArtifactStorage, save: Save
    ) -> None:
        save("1"), save("2")
        folder = root / "artifacts/model/net"
        first = (folder / "events.jsonl").read_text().splitlines(keepends=True)[0]
        (folder / "events.jsonl").write_text(first)
        (folder / "versions.json").unlink()
        before = state(root)
        assert not storage.delete_artifact_version("net", "model", 7)
        assert storage.restore_artifact_version("net", "model", 1)  # nothing to take back
        assert state(root) == before
        promote(root, 1, "staging")
        assert events(root) == ["artifact.version_created"] * 2 + ["artifact.promoted"]
        assert [item["version"] for item in index_of(root)["versions"]] == [1, 2]


class TestDeleting:
    @pytest.mark.parametrize("fails", NO_ROOM.values(), ids=NO_ROOM)
    def test_a_version_that_cannot_be_removed_for_good_stays_whole(
        self, root: Path, storage: ArtifactStorage, save: Save, fails: Fails
    ) -> None:
        save("1"), save("2")
        before, contents = state(root), pool_files(root)
        with fails(), pytest.raises(OSError, match="No space left"):
            storage.delete_artifact_version("net", "model", 2, soft_delete=False)
        assert (state(root), pool_files(root)) == (before, contents)
        assert list(verify(storage.lookup.artifacts())) == []
        assert storage.delete_artifact_version("net", "model", 2, soft_delete=False)
        assert [path.read_text() for path in pool_files(root).values()] == ["1"]

    def test_a_version_that_is_gone_is_gone_though_its_index_cannot_be_replaced(
        self, root: Path, storage: ArtifactStorage, save: Save
    ) -> None:
        save("1"), save("2")
        with not_replaceable("*/versions.json"):
            assert storage.delete_artifact_version("net", "model", 2, soft_delete=False)
        assert [path.read_text() for path in pool_files(root).values()] == ["1"]
        assert [item.version for item in storage.list_versions("net")] == [1]
        assert save("3") == 3

    @pytest.mark.parametrize("fails", [*NO_ROOM.values(), lambda: no_room_for("*/.deleted*")], ids=[*NO_ROOM, "marker"])
    def test_a_deletion_that_finds_no_room_did_not_happen(
        self, root: Path, storage: ArtifactStorage, save: Save, fails: Fails
    ) -> None:
        save("1"), save("2")
        before = state(root)
        with fails(), pytest.raises(OSError, match="No space left"):
            storage.delete_artifact_version("net", "model", 2)
        assert state(root) == before
        storage.delete_artifact_version("net", "model", 2)
        before = state(root)
        with NO_ROOM["events"](), pytest.raises(OSError, match="No space left"):
            storage.restore_artifact_version("net", "model", 2)
        assert state(root) == before

    @pytest.mark.parametrize("is_deleted", [False, True])
    def test_a_marker_is_as_before_where_the_index_cannot_be_replaced(
        self, root: Path, storage: ArtifactStorage, save: Save, is_deleted: bool
    ) -> None:
        save()
        if is_deleted:
            storage.delete_artifact_version("net", "model", 1)
        change = storage.restore_artifact_version if is_deleted else storage.delete_artifact_version
        with not_replaceable("*/versions.json"), pytest.raises(OSError, match="No space left"):
            change("net", "model", 1)
        assert Lookup(root).find("net").is_deleted(1) is is_deleted
        assert index_of(root)["versions"][0]["status"] == ("deleted" if is_deleted else "ready")


class TestPromoting:
    @pytest.mark.parametrize("after", [0, 1])
    def test_a_promotion_that_finds_no_room_leaves_one_version_in_production(
        self, root: Path, save: Save, after: int
    ) -> None:
        save("1"), save("2")
        promote(root, 1, "staging", "production"), promote(root, 2, "staging")
        before = state(root)
        with no_room_for("*/lifecycle.json*", after=after), pytest.raises(OSError, match="No space left"):
            promote(root, 2, "production")
        assert state(root) == before
        promote(root, 2, "production")
        assert stages(root) == {1: "staging", 2: "production"}
        assert index_of(root)["aliases"]["production"] == 2

    @pytest.mark.parametrize(
        "fails",
        [lambda: not_replaceable("*/lifecycle.json", after=1), lambda: not_replaceable("*/versions.json")],
        ids=["stage", "index"],
    )
    def test_a_promotion_that_fails_half_way_is_put_back(self, root: Path, save: Save, fails: Fails) -> None:
        save("1"), save("2")
        promote(root, 1, "staging", "production"), promote(root, 2, "staging")
        before = {path: content for path, content in state(root).items() if path != "events.jsonl"}
        with fails(), pytest.raises(OSError, match="No space left"):
            promote(root, 2, "production")
        assert {path: content for path, content in state(root).items() if path != "events.jsonl"} == before
        promote(root, 2, "production")
        assert stages(root) == {1: "staging", 2: "production"}

    @pytest.mark.parametrize("what", ["*/evaluations/*", "*/lifecycle.json*", "*/net/events.jsonl"])
    def test_an_evaluation_that_finds_no_room_leaves_nothing(self, root: Path, save: Save, what: str) -> None:
        save()
        before = state(root)
        evaluation = promoting.Evaluation(metrics={"acc": 1.0}, status="passed")
        with no_room_for(what), pytest.raises(OSError, match="No space left"):
            promoting.evaluate(root, Lookup(root).find("net"), 1, evaluation)
        assert state(root) == before
        assert list((root / "evaluations").iterdir()) == []
        promoting.evaluate(root, Lookup(root).find("net"), 1, evaluation)
        assert len(list((root / "evaluations").iterdir())) == 1


def test_a_refused_alias_writes_nothing(root: Path, save: Save) -> None:
    save()
    before = state(root)
    with pytest.raises(FileNotFoundError):
        promoting.set_alias(Lookup(root).find("net"), "best", 2)
    promoting.set_alias(Lookup(root).find("net"), "best", None)
    assert state(root) == before


def test_the_index_tells_the_time_of_changes_but_not_of_aliases_and_evaluations(
    root: Path, storage: ArtifactStorage, make: Make
) -> None:
    artifact = Artifact("net").add_file(make())
    storage.save_artifact(artifact, "r1", *artifact.staged)
    first = index_of(root)["updated_at"]
    promoting.set_alias(Lookup(root).find("net"), "best", 1)
    promoting.evaluate(root, Lookup(root).find("net"), 1, promoting.Evaluation(metrics={}, status="passed"))
    assert index_of(root)["updated_at"] == first
    promote(root, 1, "staging")
    assert index_of(root)["updated_at"] > first
