"""Impact and provenance of versions over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.artifact_world import History
from tests.serving import Server

COMMIT = "c0ffee" * 6 + "abcd"


def environment(*, has_changes: bool = False) -> dict[str, Any]:
    git = {"commit": COMMIT, "branch": "main", "has_changes": has_changes, "remote": "https://me:secret@host/net.git"}
    gpus = [{"name": "GPU 1"}, {}, 5]
    return {"python_version": "3.12.1", "platform": "Linux", "git_info": git, "pip_packages": ["numpy==2.1"],
            "gpu_info": gpus}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    root = tmp_path_factory.mktemp("store") / "root"
    server = Server(root, "--rate-limit", "off")
    history = History(server, root)
    history.run("prepare", [], ["dataset/raw:v1", "dataset/clean:v1"], environment=environment())
    history.run("train1", ["dataset/clean:v1"], ["model/net:v1"], environment=environment())
    history.run(
        "train2", ["dataset/clean:v1"], ["model/net:v2", "custom/log:v1"], environment=environment(has_changes=True)
    )
    history.run(
        "join", ["model/net:v1", "model/net:v2", "dataset/raw:v1"], ["model/both:v1"], environment=environment()
    )
    history.run("report", ["model/both:v1", "dataset/gone:v9"], ["custom/report:v1"])
    for run in ("prepare", "train1", "train2", "join", "report"):
        history.known(run)
    yield history
    server.stop()


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["artifact"] for item in items]


def test_impact_is_everything_downstream_with_models_first(world: History) -> None:
    found = world.get("/clean/v1/impact")
    assert found["artifact"]["artifact"] == "dataset/clean:v1"
    assert names(found["versions"]) == [
        "model/net:v1", "model/net:v2", "model/both:v1", "custom/log:v1", "custom/report:v1",
    ]  # fmt: skip
    assert [item["distance"] for item in found["versions"]] == [1, 1, 2, 1, 3]
    assert list(found["counts"].items()) == [("model", 3), ("custom", 2)]
    assert [(run["run_id"], run["distance"]) for run in found["runs"]] == [
        ("train1", 1), ("train2", 1), ("join", 2), ("report", 3),
    ]  # fmt: skip
    assert (found["runs"][0]["project"], found["runs"][0]["name"]) == ("vision", "train1!")
    assert found["is_all"] is True
    assert world.get("/report/v1/impact")["versions"] == []


def test_provenance_is_the_recipe_in_the_order_in_which_to_repeat_it(world: History) -> None:
    found = world.get("/both/v1/provenance")
    assert [step["run_id"] for step in found["steps"]] == ["prepare", "train1", "train2", "join"]
    step = found["steps"][0]
    assert step["code"] == {
        "commit": COMMIT, "branch": "main", "has_changes": False, "remote": "https://host/net.git",
    }  # fmt: skip
    assert step["environment"] == {
        "python_version": "3.12.1", "platform": "Linux", "packages": ["numpy==2.1"], "gpus": ["GPU 1"],
    }  # fmt: skip
    assert (step["project"], step["name"], step["is_gone"], step["created_at"]) == ("vision", "prepare!", False, 5.0)
    assert found["steps"][3]["inputs"] == ["model/net:v1", "model/net:v2", "dataset/raw:v1"]
    assert found["steps"][3]["outputs"] == ["model/both:v1"]
    assert names(found["inputs"]) == ["model/net:v1", "model/net:v2", "dataset/raw:v1", "dataset/clean:v1"]
    assert found["gaps"] == ["run train2: its code differed from the commit"]
    assert found["is_reproducible"] is False


def test_provenance_without_gaps_is_reproducible(world: History) -> None:
    found = world.get("/net/v1/provenance")
    assert (found["gaps"], found["is_reproducible"]) == ([], True)


def test_provenance_names_what_is_missing(world: History) -> None:
    assert "dataset/gone:v9: gone" in world.get("/report/v1/provenance")["gaps"]
    assert "run report: no commit of its code is known" in world.get("/report/v1/provenance")["gaps"]
    name = world.name()
    world.save(name, run="nobody")
    world.save(name, run="")
    assert world.get(f"/{name}/v1/provenance")["gaps"] == ["run nobody: gone"]
    assert world.get(f"/{name}/v1/provenance")["steps"][0]["code"] is None
    assert world.get(f"/{name}/v2/provenance")["gaps"] == [f"model/{name}:v2: nobody knows which run made it"]


def test_unknown_versions_are_not_found(world: History) -> None:
    for what in ("impact", "provenance"):
        assert world.refused("GET", f"/net/v7/{what}") == (404, "Version not found: net:v7")
        assert world.refused("GET", f"/none/v1/{what}") == (404, "Artifact not found: none")
        assert world.refused("GET", f"/net/vx/{what}") == (400, "Invalid version number: x")
        assert world.http.get(f"/api/artifacts/net/1/{what}").status_code == 404
