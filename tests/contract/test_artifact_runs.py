"""Artifacts and the runs that made and used them, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

import runicorn as rn
from runicorn.artifacts import Artifact
from tests.artifact_world import World, name, world
from tests.serving import wait_until

__all__ = ["name", "world"]


class TestRuns:
    @pytest.fixture
    def run(self, world: World) -> rn.Run:
        return rn.Run("vision", world.root, name="train", capture_env=False)

    def test_the_run_tells_what_made_a_version(self, world: World, run: rn.Run, name: str) -> None:
        run.summary({"final_acc": 0.9, "name": "x", "ok": True, "nan": float("nan"), "huge": 10**30})
        world.save(name, run=run.id)
        run.finish()

        def trained() -> dict[str, Any]:
            return world.get(f"/{name}/training-metrics") or {}

        wait_until(lambda: trained().get("status") == "finished", "the end of the run")
        wait_until(lambda: trained().get("duration_seconds") is not None, "its duration")
        found = world.get(f"/{name}/training-metrics", version=1)
        meta = json.loads((run.run_dir / "meta.json").read_text())
        status = json.loads((run.run_dir / "status.json").read_text())
        assert found == {
            "run_id": run.id, "run_name": "train", "project": "vision",
            "metrics": {"final_acc": 0.9, "name": "x", "ok": True, "nan": None, "huge": 10**30},
            "created_at": meta["created_at"], "duration_seconds": status["ended_at"] - status["started_at"],
            "status": "finished",
        }  # fmt: skip
        [item] = world.get(f"/{name}/performance-history")
        assert item == {
            "version": 1, "created_at": world.index(name)["versions"][0]["created_at"], "run_id": run.id,
            "status": "finished", "metrics": {"final_acc": 0.9, "ok": True, "huge": 10**30},
        }  # fmt: skip
        metrics = [world.get(f"/{name}/performance-history", metric_name=m)[0]["metrics"] for m in ("name", "none")]
        assert metrics == [{"name": "x"}, {}]

    def test_without_a_usable_run_there_is_nothing(self, world: World, name: str) -> None:
        world.save(name, run="20250114_150000_def456"), world.save(name, run="")
        assert world.get(f"/{name}/training-metrics") is None
        assert world.get(f"/{name}/training-metrics", version=1) is None
        assert world.get(f"/{name}/performance-history") == []
        assert world.refused("GET", f"/{name}/training-metrics?version=7") == (404, f"Version not found: {name}:v7")
        world.send("DELETE", f"/{name}/v1"), world.send("DELETE", f"/{name}/v2")
        assert world.refused("GET", f"/{name}/training-metrics") == (404, f"No versions found for artifact: {name}")
        assert world.get(f"/{name}/performance-history") == []

    def test_history_is_in_numeric_order(self, world: World, run: rn.Run, name: str) -> None:
        run.summary({"a": 1})
        for _ in range(11):
            world.save(name, run=run.id)
        wait_until(lambda: len(world.get(f"/{name}/performance-history")) == 11, "the run")
        assert [item["version"] for item in world.get(f"/{name}/performance-history")] == list(range(1, 12))

    def test_a_run_shows_at_once_what_it_logged_and_used(self, world: World, run: rn.Run, name: str) -> None:
        source = world.root.parent / "w"
        source.write_text("abc")
        run.log_artifact(Artifact(name, description="a net").add_file(source))
        run.use_artifact(f"{name}:v1")
        answer = world.http.get(f"/api/runs/{run.id}/artifacts").json()
        expected = {
            "name": name, "type": "model", "version": 1, "size_bytes": 3,
            "created_at": world.index(name)["created_at"], "description": "a net", "aliases": ["latest"],
            "lifecycle_stage": "experimental", "status": "ready",
        }  # fmt: skip
        assert answer == {"created": [expected], "used": [expected]}


class TestLineage:
    def test_both_directions_with_names_of_runs(self, world: World, name: str) -> None:
        runs = [rn.Run("vision", world.root, name=f"run{number}", capture_env=False) for number in range(3)]
        source = world.root.parent / "w"
        source.write_text("abc")

        def log(run: rn.Run, made: str, type: str) -> None:
            run.log_artifact(Artifact(made, type).add_file(source))

        log(runs[0], f"{name}d", "dataset")
        runs[1].use_artifact(f"{name}d:v1")
        log(runs[1], name, "model")
        runs[2].use_artifact(f"{name}:v1")
        log(runs[2], f"{name}r", "custom")
        wait_until(lambda: len(world.get(f"/{name}/v1/lineage")["nodes"]) == 6, "all runs")
        graph = world.get(f"/{name}/v1/lineage")
        tracked = rn.artifacts.LineageTracker(world.root).build_lineage_graph(name, "model", 1)  # type: ignore[attr-defined] - a module
        assert graph == tracked.to_dict()
        assert graph["nodes"][1]["metadata"] == {"run_id": runs[1].id, "project": "vision", "name": "run1"}
        assert [node["node_id"] for node in world.get(f"/{name}/v1/lineage", max_depth=0)["nodes"]] == [f"{name}:v1"]
        assert world.refused("GET", f"/{name}/v9/lineage") == (404, f"Version not found: {name}:v9")
        for run in runs:
            run.finish()
