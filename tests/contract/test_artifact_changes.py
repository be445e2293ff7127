"""Deleting versions and restoring them, aliases, stages and evaluations, over HTTP."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import pytest

import runicorn as rn
from runicorn.artifacts import Artifact
from tests.artifact_world import World, name, world

__all__ = ["name", "world"]


class TestDeleting:
    @pytest.mark.slow(2)
    def test_a_deleted_version_is_hidden_everywhere_and_comes_back(self, world: World, name: str) -> None:
        world.save(name, "1"), world.save(name, "22")
        before = world.level_stats()
        answer = {"success": True, "message": f"Soft deleted {name}:v2 locally", "bytes_freed": 0}
        assert [world.send("DELETE", f"/{name}/v2") for _ in range(2)] == [answer, answer]
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]
        item = world.listed(name)
        assert item is not None
        assert (item["num_versions"], item["latest_version"], item["aliases"]) == (1, 1, {"latest": 1})
        assert world.get("/stats")["total_versions"] == before["total_versions"] - 1
        shown = world.get(f"/{name}/versions", include_deleted=True)
        assert [(item["status"], item["aliases"]) for item in shown] == [("ready", ["latest"]), ("deleted", [])]
        assert world.get(f"/{name}/v2")["status"] == "deleted"
        assert world.get(f"/{name}/v2/files")["total_files"] == 1
        assert world.storage.load_artifact(name)[0].version == 1
        assert world.send("POST", f"/{name}/v2/restore") == {
            "success": True, "message": f"Restored {name}:v2 locally",
        }  # fmt: skip
        assert world.send("POST", f"/{name}/v2/restore")["success"]
        assert [item["aliases"] for item in world.get(f"/{name}/versions")] == [[], ["latest"]]
        assert world.get("/stats") == before

    def test_a_purged_version_frees_its_own_content(self, world: World, name: str) -> None:
        own = f"only in one {name}"
        world.save(name, own, "shared by two"), world.save(name, "shared by two")
        world.send("DELETE", f"/{name}/v2")
        before = world.get("/stats")["dedup_pool_size_bytes"]
        answer = world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})
        assert answer == {
            "success": True, "message": f"Permanently deleted {name}:v1 locally", "bytes_freed": len(own),
        }  # fmt: skip
        assert before - world.get("/stats")["dedup_pool_size_bytes"] == len(own)
        assert world.refused("GET", f"/{name}/v1") == (404, f"Version not found: {name}:v1")
        assert world.refused("DELETE", f"/{name}/v1") == (404, f"Version not found: {name}:v1")
        assert world.get(f"/{name}/versions") == []
        world.send("DELETE", f"/{name}/v2", params={"permanent": "true"})
        assert world.get(f"/{name}/versions") == []
        assert world.listed(name, include_deleted=True) is None
        assert world.save(name) == 3
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [3]

    def test_files_that_cannot_be_removed_stay_listed(self, world: World, name: str) -> None:
        world.save(name)
        staging = world.root / "artifacts/.tmp"
        staging.rename(world.root / "artifacts/.aside")
        # Permissions do not stop the superuser; another file system in the place of the staging area does.
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            staging.symlink_to(elsewhere)
            try:
                assert world.refused("DELETE", f"/{name}/v1?permanent=1") == (500, f"Could not delete {name}:v1")
            finally:
                staging.unlink()
                (world.root / "artifacts/.aside").rename(staging)
        assert len(world.get(f"/{name}/versions")) == 1
        world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})


class TestAliases:
    def test_a_user_sets_and_removes_an_alias(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        world.send("PUT", f"/{name}/v1/aliases/good")
        assert world.get(f"/{name}/v1")["aliases"] == ["good"]
        assert world.index(name)["aliases"] == {"latest": 2, "good": 1}
        assert world.storage.load_artifact(name, alias="good")[0].version == 1
        world.send("PUT", f"/{name}/v2/aliases/good")
        assert world.get(f"/{name}/v2")["aliases"] == ["good", "latest"]
        world.send("DELETE", f"/{name}/aliases/good")
        assert world.index(name)["aliases"] == {"latest": 2}
        assert world.refused("DELETE", f"/{name}/aliases/good")[0] == 404

    @pytest.mark.parametrize("alias", ["latest", "production", "v3", "V3", ".x", "a:b"])
    def test_some_aliases_cannot_be_set(self, world: World, alias: str) -> None:
        if not world.folder("aliased").exists():
            world.save("aliased")
        status, detail = world.refused("PUT", f"/aliased/v1/aliases/{alias}")
        assert (status, detail) == (400, f"Invalid value for alias: {alias!r} cannot be set")

    def test_a_deleted_version_gets_no_alias(self, world: World, name: str) -> None:
        world.save(name)
        world.send("DELETE", f"/{name}/v1")
        assert world.refused("PUT", f"/{name}/v1/aliases/good") == (404, f"Version not found: {name}:v1")


class TestReadersAgree:
    def test_about_aliases(self, world: World, name: str) -> None:
        source = world.root.parent / "w"
        run = rn.Run("vision", world.root, capture_env=False)
        for number in (1, 2, 3):
            source.write_text(f"{name} {number}")
            assert run.log_artifact(Artifact(name).add_file(source)) == number
        world.send("PUT", f"/{name}/v1/aliases/good")
        world.promote(name, 2, "staging", "production")
        self._agree(world, run, name, {"latest": 3, "good": 1, "production": 2})
        world.send("DELETE", f"/{name}/v3")
        self._agree(world, run, name, {"latest": 2, "good": 1, "production": 2})
        world.send("DELETE", f"/{name}/v2")
        self._agree(world, run, name, {"latest": 1, "good": 1})
        world.send("POST", f"/{name}/v3/restore")
        world.send("POST", f"/{name}/v2/restore")
        self._agree(world, run, name, {"latest": 3, "good": 1, "production": 2})
        world.send("DELETE", f"/{name}/v3", params={"permanent": "true"})
        self._agree(world, run, name, {"latest": 2, "good": 1, "production": 2})
        run.finish()

    def _agree(self, world: World, run: rn.Run, name: str, aliases: dict[str, int]) -> None:
        by_version = {
            version: sorted(alias for alias, target in aliases.items() if target == version) for version in (1, 2, 3)
        }
        item = world.listed(name)
        assert item is not None
        assert item["aliases"] == aliases
        shown = world.get(f"/{name}/versions")
        assert {v["version"]: sorted(v["aliases"]) for v in shown} == {
            v["version"]: by_version[v["version"]] for v in shown
        }
        made = world.http.get(f"/api/runs/{run.id}/artifacts").json()["created"]
        assert {v["version"]: sorted(v["aliases"]) for v in made} == by_version
        for version in shown:
            assert sorted(world.get(f"/{name}/v{version['version']}")["aliases"]) == by_version[version["version"]]
        for alias, version in aliases.items():
            assert run.use_artifact(f"{name}:{alias}").version == version
        for alias in {"latest", "good", "production"} - aliases.keys():
            with pytest.raises(ValueError, match=f"^Alias not found: {alias}"):
                run.use_artifact(f"{name}:{alias}")

    def test_about_the_version_in_production(self, world: World, name: str) -> None:
        world.save(name, "one"), world.save(name, "two")
        for version in (1, 2):
            world.promote(name, version, "staging", "production")
        run = rn.Run("vision", world.root, capture_env=False)
        used = run.use_artifact(f"{name}:production")
        path = used.get_file_path("file0")
        assert path is not None
        assert (used.version, path.read_text()) == (2, "two")
        run.finish()
        assert world.get(f"/{name}/v2")["lifecycle_stage"] == "production"
        assert world.get(f"/{name}/v2/files")["files"][0]["absolute_path"] == str(path)
        stages = [
            world.get(f"/{name}/v{item['version']}")["lifecycle_stage"] for item in world.get(f"/{name}/versions")
        ]
        assert stages.count("production") == 1


class TestLifecycle:
    def test_promotion_sets_the_alias_and_supersedes(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        before = {p: p.read_bytes() for p in world.folder(name).glob("v*/*.json")}
        world.promote(name, 1, "staging")
        answer = world.send("POST", f"/{name}/v1/promote", json={"to_stage": "production", "notes": "n", "other": 1})
        assert answer == {
            "ok": True, "artifact": f"{name}:v1", "from_stage": "staging", "to_stage": "production",
            "message": "Successfully promoted to production",
        }  # fmt: skip
        assert world.get(f"/{name}/v1")["aliases"] == ["production"]
        assert world.storage.load_artifact(name, alias="production")[0].version == 1
        world.promote(name, 2, "staging", "production")
        assert world.index(name)["aliases"] == {"latest": 2, "production": 2}
        stages = [world.get(f"/{name}/v{version}")["lifecycle_stage"] for version in (1, 2)]
        assert stages == ["staging", "production"]
        lifecycle = json.loads((world.folder(name) / "v1/lifecycle.json").read_text())
        assert list(lifecycle) == ["lifecycle_stage", "lifecycle_updated_at", "stage_transitions", "evaluations"]
        assert [transition["notes"] for transition in lifecycle["stage_transitions"]] == [
            None, "n", f"Superseded by {name}:v2",
        ]  # fmt: skip
        assert world.get(f"/{name}/v1")["updated_at"] == lifecycle["lifecycle_updated_at"]
        world.promote(name, 2, "archived")
        assert world.index(name)["aliases"] == {"latest": 2}
        world.send("POST", f"/{name}/v1/evaluate", json={"metrics": {"a": 1}, "status": "passed"})
        assert {p: p.read_bytes() for p in before} == before

    def test_a_deleted_version_in_production_is_superseded_too(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        world.promote(name, 1, "staging", "production")
        world.send("DELETE", f"/{name}/v1")
        world.promote(name, 2, "staging", "production")
        assert world.get(f"/{name}/v1")["lifecycle_stage"] == "staging"

    @pytest.mark.parametrize(
        ("body", "status", "detail"),
        [
            ([], 400, "Request body must be a JSON object"),
            ({}, 400, "Missing required field: to_stage"),
            ({"to_stage": None}, 400, "Missing required field: to_stage"),
            ({"to_stage": 5}, 400, "Invalid value for to_stage: must be a string"),
            ({"to_stage": "staging", "notes": 5}, 400, "Invalid value for notes: must be a string"),
            ({"to_stage": "x"}, 400, "Invalid target stage: x. Must be one of ['experimental', 'staging', 'production',"
             " 'archived']"),
            ({"to_stage": "production"}, 400, "Invalid transition from experimental to production"),
            ({"to_stage": "experimental"}, 400, "Invalid transition from experimental to experimental"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_promoted_is_told(self, world: World, body: Any, status: int, detail: str) -> None:
        if not world.folder("staged").exists():
            world.save("staged")
        assert world.refused("POST", "/staged/v1/promote", json=body) == (status, detail)
        assert not (world.folder("staged") / "v1/lifecycle.json").exists()

    def test_versions_that_cannot_be_promoted(self, world: World, name: str) -> None:
        body = {"to_stage": "staging"}
        assert world.refused("POST", "/nobody/v1/promote", json=body) == (404, "Artifact not found: nobody:v1")
        for _ in range(3):
            world.save(name)
        assert world.refused("POST", f"/{name}/v9/promote", json=body) == (404, f"Artifact not found: {name}:v9")
        (world.folder(name) / "v1/metadata.json").unlink()
        (world.folder(name) / "v2/metadata.json").write_text("{")
        world.send("DELETE", f"/{name}/v3")
        assert [world.refused("POST", f"/{name}/v{version}/promote", json=body) for version in (1, 2, 3)] == [
            (404, "Artifact metadata not found"),
            (409, f"Artifact metadata is corrupted: {name}:v2"),
            (409, f"Version is deleted: {name}:v3"),
        ]

    def test_evaluations_are_recorded(self, world: World, name: str) -> None:
        world.save(name)
        body = {"metrics": {"a": "1.5", "b": 2}, "status": "passed", "test_dataset": "d", "model_name": "ignored"}
        answers = [world.send("POST", f"/{name}/v1/evaluate", json=body) for _ in range(12)]
        records = world.get(f"/{name}/evaluations")
        assert {record["id"] for record in records} == {answer["eval_id"] for answer in answers}
        assert len(records) == 12
        date = records[0]["evaluation_date"]
        assert records[0] == {
            "id": answers[-1]["eval_id"], "model_name": name, "model_type": "model", "model_version": 1,
            "evaluation_date": date, "evaluator_run_id": None, "metrics": {"a": 1.5, "b": 2.0}, "test_dataset": "d",
            "status": "passed", "notes": None,
        }  # fmt: skip
        assert [record["evaluation_date"] for record in records] == sorted(
            (record["evaluation_date"] for record in records), reverse=True
        )
        kept = json.loads((world.folder(name) / "v1/lifecycle.json").read_text())["evaluations"]
        assert len(kept) == 10
        assert kept[-1] == {
            "eval_id": answers[-1]["eval_id"], "date": date, "status": "passed",
            "metrics_summary": {"a": 1.5, "b": 2.0},
        }  # fmt: skip
        assert world.get(f"/{name}/evaluations", version=2) == []
        assert world.refused("GET", f"/{name}/evaluations?type=dataset")[0] == 404

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            ({"status": "x"}, "Missing required field: metrics"),
            ({"metrics": {}}, "Missing required field: status"),
            ({"metrics": [], "status": "x"}, "Invalid value for metrics: must be an object"),
            ({"metrics": {"m": "nan"}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
            ({"metrics": {"m": True}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
            ({"metrics": {"m": None}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
        ],
    )
    def test_an_evaluation_that_is_refused_writes_nothing(self, world: World, body: Any, detail: str) -> None:
        if not world.folder("judged").exists():
            world.save("judged")
        folder = world.root / "evaluations"
        before = sorted(folder.glob("*")) if folder.exists() else []
        assert world.refused("POST", "/judged/v1/evaluate", json=body) == (400, detail)
        assert world.refused("POST", "/nobody/v1/evaluate", json={"metrics": {}, "status": "x"})[0] == 404
        assert (sorted(folder.glob("*")) if folder.exists() else []) == before
        assert not (world.folder("judged") / "v1/lifecycle.json").exists()

    def test_evaluations_of_a_similar_name_are_others(self, world: World, name: str) -> None:
        world.save(name), world.save(f"{name}_big")
        world.send("POST", f"/{name}_big/v1/evaluate", json={"metrics": {}, "status": "ok"})
        assert world.get(f"/{name}/evaluations") == []
        assert len(world.get(f"/{name}_big/evaluations")) == 1
        assert world.refused("GET", "/nobody/evaluations") == (404, "Artifact not found: nobody")

    def test_records_without_their_artifact_and_damaged_ones(self, world: World) -> None:
        folder = world.root / "evaluations"
        folder.mkdir(exist_ok=True)
        (folder / "orphan_v1_5.json").write_text(
            json.dumps({"id": "orphan_v1_5", "model_name": "orphan", "model_version": 1, "metrics": {"a": 1}})
        )
        (folder / "orphan_v1_6.json").write_text("{")
        assert [record["id"] for record in world.get("/orphan/evaluations")] == ["orphan_v1_5"]
