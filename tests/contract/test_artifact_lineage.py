"""Lineage over HTTP: nothing is left out, however many runs there are."""

from __future__ import annotations

from typing import Any

from tests.artifact_world import History, world
from tests.serving import wait_until

__all__ = ["world"]

MANY = 120


def graph(world: History, version: str, type: str, **parameters: Any) -> tuple[set[str], set[tuple[str, str, str]]]:
    """The ids of the nodes around `name:vN`, and the edges."""
    answer = world.get(f"/{version.replace(':', '/')}/lineage", type=type, **parameters)
    assert answer["root_artifact"] == version
    edges = [(edge["source"], edge["target"], edge["edge_type"]) for edge in answer["edges"]]
    assert len(edges) == len(set(edges))
    return {node["node_id"] for node in answer["nodes"]}, set(edges)


def test_a_dataset_shows_every_run_that_used_it_and_what_that_made(world: History) -> None:
    world.run("prepare", [], ["dataset/rows:v1"])
    for number in (1, 2, 3):
        world.run(f"train{number}", ["dataset/rows:v1"], [f"model/net:v{number}"])
        world.known(f"train{number}")
    expected = {"rows:v1", "prepare", *(f"train{n}" for n in (1, 2, 3)), *(f"net:v{n}" for n in (1, 2, 3))}
    nodes, edges = graph(world, "rows:v1", "dataset")
    assert nodes == expected
    assert edges == {
        ("prepare", "rows:v1", "produces"),
        *(("rows:v1", f"train{n}", "uses") for n in (1, 2, 3)),
        *((f"train{n}", f"net:v{n}", "produces") for n in (1, 2, 3)),
    }
    for number in range(100):
        world.run(f"other{number}", ["dataset/elsewhere:v1"], [])
    world.known("other99")
    assert graph(world, "rows:v1", "dataset") == (nodes, edges)


def test_no_run_is_one_too_many(world: History) -> None:
    world.run("collect", [], ["dataset/popular:v1"])
    for number in range(MANY):
        world.run(f"reader{number:03}", ["dataset/popular:v1"], [])
    wait_until(lambda: len(graph(world, "popular:v1", "dataset")[0]) == MANY + 2, "all readers")


def test_cycles_end(world: History) -> None:
    world.run("first", ["model/teacher:v1"], ["model/student:v1"])
    world.run("second", ["model/student:v1"], ["model/teacher:v1"])
    for run in ("first", "second"):
        world.known(run)
    nodes, edges = graph(world, "student:v1", "model", max_depth=10)
    assert nodes == {"student:v1", "teacher:v1", "first", "second"}
    assert edges == {
        ("teacher:v1", "first", "uses"),
        ("first", "student:v1", "produces"),
        ("student:v1", "second", "uses"),
        ("second", "teacher:v1", "produces"),
    }


def test_artifacts_of_one_name_and_two_types_are_two_nodes(world: History) -> None:
    world.run("distil", ["model/twin:v1"], ["dataset/twin:v1"])
    world.save("twin", type="model", run="elsewhere")
    world.known("distil")
    nodes, edges = graph(world, "twin:v1", "model")
    assert nodes == {"twin:v1", "elsewhere", "distil", "dataset/twin:v1"}
    assert ("distil", "dataset/twin:v1", "produces") in edges
    nodes, _ = graph(world, "twin:v1", "dataset")
    assert nodes == {"twin:v1", "distil", "model/twin:v1", "elsewhere"}


def test_a_deleted_version_and_a_deleted_run_stay_in_the_graph(world: History) -> None:
    world.run("maker", [], ["dataset/kept:v1"])
    world.run("taker", ["dataset/kept:v1"], ["model/derived:v1"])
    for run in ("maker", "taker"):
        world.known(run)
    before = graph(world, "kept:v1", "dataset")
    world.send("DELETE", "/derived/v1")
    assert world.http.post("/api/runs/soft-delete", json={"run_ids": ["taker"]}).status_code == 200
    assert graph(world, "kept:v1", "dataset") == before
    nodes = world.get("/kept/v1/lineage")["nodes"]
    [derived] = [node for node in nodes if node["node_id"] == "derived:v1"]
    assert derived["metadata"]["status"] == "deleted"


def test_an_unknown_version_is_not_found(world: History) -> None:
    world.save("lonely")
    assert world.refused("GET", "/lonely/v2/lineage") == (404, "Version not found: lonely:v2")
    assert world.refused("GET", "/nobody/v1/lineage") == (404, "Artifact not found: nobody")
