"""`/api/projects…` over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server
from tests.stores import make_run

RUNS = {
    "vision/resnet/runs/a": {"created_at": 1.0},
    "vision/resnet/runs/b": {"created_at": 2.0},
    "x/y/runs/c": {"project": "vision", "name": "Resnet", "created_at": 3.0},
    "a b/ü%?/runs/d": {"created_at": 4.0},
    "Zeta/n/runs/e": {},
    "runs/legacy": {"project": "old"},
    "runs/without": {},
    "gone/n/runs/deleted": {},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("projects") / "root"
    for key, meta in RUNS.items():
        make_run(root, key, meta=meta)
    (root / "gone/n/runs/deleted/.deleted").write_text("{}")
    server = Server(root, "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


def test_projects_are_those_of_runs_outside_the_bin_by_code_point(server: Server) -> None:
    assert server.http.get("/api/projects").json() == {"projects": ["Zeta", "a b", "old", "vision"]}


def test_names_are_matched_exactly_and_ordered_by_code_point(server: Server) -> None:
    assert server.http.get("/api/projects/vision/names").json() == {"names": ["Resnet", "resnet"]}
    assert server.http.get("/api/projects/a%20b/names").json() == {"names": ["ü%?"]}
    for project in ("Vision", "gone", "nope", "old"):
        assert server.http.get(f"/api/projects/{project}/names").json() == {"names": []}


def test_runs_of_a_name_are_the_items_of_the_list_in_its_order(server: Server) -> None:
    everything = server.http.get("/api/runs").json()
    found = server.http.get("/api/projects/vision/names/resnet/runs").json()
    assert [run["id"] for run in found] == ["b", "a"]
    assert found == [run for run in everything if run["project"] == "vision" and run["name"] == "resnet"]
    assert [run["id"] for run in server.http.get("/api/projects/a%20b/names/%C3%BC%25%3F/runs").json()] == ["d"]
    assert server.http.get("/api/projects/vision/names/RESNET/runs").json() == []
    assert server.http.get("/api/projects/gone/names/n/runs").json() == []


def test_an_encoded_slash_never_matches_one_segment(server: Server) -> None:
    assert server.http.get("/api/projects/a%2Fb/names").status_code == 404
