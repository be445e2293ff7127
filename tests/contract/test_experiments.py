"""`/api/experiments/…` over real HTTP, and its agreement with the SDK and with 0.4.0's file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

import runicorn as rn
from tests.recorded import wait_until_live
from tests.serving import Server, wait_until
from tests.stores import make_run

_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("experiments") / "root", "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


def make(server: Server, project: str | None = None, name: str = "resnet", **files: Any) -> str:
    run_id = f"run{next(_numbers)}"
    files.setdefault("meta", {"created_at": 5.5})
    make_run(server.root, f"{project or run_id}/{name}/runs/{run_id}", **files)
    wait_until(lambda: server.http.get(f"/api/runs/{run_id}").status_code == 200)
    return run_id


def tag(server: Server, **body: Any) -> httpx.Response:
    return server.http.post("/api/experiments/tag", json=body)


def delete(server: Server, **body: Any) -> httpx.Response:
    return server.http.request("DELETE", "/api/experiments/delete", json=body)


def search(server: Server, **query: Any) -> list[dict[str, Any]]:
    answer = server.http.get("/api/experiments/search", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["experiments"]


def stored(server: Server) -> dict[str, Any]:
    return json.loads((server.root / ".experiments_metadata.json").read_text())


def v2(server: Server, run_id: str) -> dict[str, Any]:
    return server.http.get(f"/api/v2/experiments/{run_id}").json()["experiment"]


class TestTag:
    def test_tags_are_added_in_order_or_replaced_and_0_4_0_sees_them(self, server: Server) -> None:
        run = make(server)
        assert tag(server, run_id=run, tags=["b", " a "]).json() == {"success": True}
        assert tag(server, run_id=run, tags=["a", "c"]).json() == {"success": True}
        (found,) = search(server, project=run)
        entry = stored(server)[run]
        assert found["tags"] == entry["tags"] == ["b", "a", "c"]
        assert entry.keys() == {
            *("id", "project", "name", "tags", "description", "created_at", "updated_at", "archived", "pinned")
        }
        assert (entry["project"], entry["created_at"]) == (run, 5.5)
        assert tag(server, run_id=run, tags=[], append=False).json() == {"success": True}
        assert search(server, project=run)[0]["tags"] == []

    def test_unknown_and_deleted_runs_are_no_success(self, server: Server) -> None:
        run = make(server)
        server.http.post("/api/runs/soft-delete", json={"run_ids": [run]})
        for run_id in (run, "unknown", "../x", "a\nb"):
            answer = tag(server, run_id=run_id, tags=["x"])
            assert (answer.status_code, answer.json()) == (200, {"success": False})

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            ({}, "run_id is required"),
            ({"run_id": ""}, "run_id is required"),
            ({"run_id": None}, "run_id is required"),
            ({"run_id": 5}, "Invalid value for run_id: must be a string"),
            ({"run_id": "x", "tags": "a"}, "Invalid value for tags: must be a list of strings"),
            ({"run_id": "x", "tags": None}, "Invalid value for tags: must be a list of strings"),
            ({"run_id": "x", "tags": ["a", 1]}, "Invalid value for tags: must be a list of strings"),
            ({"run_id": "x", "tags": [" "]}, "Invalid value for tags: a tag has 1 to 64 characters"),
            ({"run_id": "x", "tags": ["x" * 65]}, "Invalid value for tags: a tag has 1 to 64 characters"),
            ({"run_id": "x", "append": "yes"}, "Invalid value for append: must be true or false"),
        ],
    )
    def test_wrong_fields_are_named(self, server: Server, body: dict[str, Any], detail: str) -> None:
        answer = tag(server, **body)
        assert (answer.status_code, answer.json()) == (400, {"detail": detail})

    def test_a_run_has_at_most_a_hundred(self, server: Server) -> None:
        run = make(server)
        assert tag(server, run_id=run, tags=[str(n) for n in range(100)]).status_code == 200
        assert tag(server, run_id=run, tags=["more"]).json() == {
            "detail": "Invalid value for tags: a run has at most 100 tags"
        }
        assert len(search(server, project=run)[0]["tags"]) == 100


class TestSearch:
    def test_a_run_without_entry_has_its_own_values(self, server: Server) -> None:
        run = make(server, status={"status": "finished", "started_at": 6.0, "ended_at": 9.5})
        assert search(server, project=run) == [
            {
                "id": run,
                "project": run,
                "name": "resnet",
                "tags": [],
                "description": None,
                "created_at": 5.5,
                "updated_at": 9.5,
                "archived": False,
                "pinned": False,
            }
        ]

    def test_all_conditions_have_to_hold(self, server: Server) -> None:
        one, two = make(server, "search"), make(server, "search", name="ResNet-50")
        tag(server, run_id=one, tags=["x", "a,b", "long tag"])
        tag(server, run_id=two, tags=["x", "y"])
        server.http.patch(f"/api/experiments/{two}", json={"description": "Größer als ALLE"})

        def found(**query: str) -> list[str]:
            return [run["id"] for run in search(server, project="search", **query)]

        assert found() == [two, one]  # last updated first
        assert found(tags=" x ,, ") == [two, one]
        assert found(tags="x,y") == [two]
        assert found(tags="nope") == []
        assert found(text="resnet-5") == [two]
        assert found(text="größer") == found(text="alle") == found(text="X Y") == [two]
        assert found(text="LONG TAG") == [one]
        assert found(text="search") == [two, one]
        assert found(text="%") == []
        assert search(server, project="Search") == []

    def test_archived_runs_appear_if_asked_for(self, server: Server) -> None:
        run = make(server)
        server.http.patch(f"/api/experiments/{run}", json={"archived": True})
        assert search(server, project=run) == []
        assert [found["id"] for found in search(server, project=run, archived="yes")] == [run]
        answer = server.http.get("/api/experiments/search?archived=maybe")
        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "Invalid value for archived: must be true or false"},
        )

    def test_runs_in_the_bin_are_left_out(self, server: Server) -> None:
        run = make(server)
        server.http.post("/api/runs/soft-delete", json={"run_ids": [run]})
        assert search(server, project=run) == []


class TestPatch:
    def test_what_is_given_changes_and_the_rest_stays(self, server: Server) -> None:
        run = make(server)
        tag(server, run_id=run, tags=["t"])
        before = time.time()
        answer = server.http.patch(f"/api/experiments/{run}", json={"description": "text", "pinned": True})
        assert answer.status_code == 200
        assert answer.json() == search(server, project=run)[0]
        assert (answer.json()["tags"], answer.json()["description"], answer.json()["pinned"]) == (["t"], "text", True)
        assert answer.json()["updated_at"] >= before
        assert (stored(server)[run]["description"], stored(server)[run]["pinned"]) == ("text", True)
        changed = server.http.patch(f"/api/experiments/{run}", json={"description": None, "tags": ["z"]}).json()
        assert (changed["tags"], changed["description"], changed["pinned"]) == (["z"], None, True)

    @pytest.mark.parametrize(
        "body", [{}, {"pinned": 1}, {"archived": "yes"}, {"tags": [""]}, {"description": "x" * 10_001}]
    )
    def test_wrong_values_change_nothing(self, server: Server, body: dict[str, Any]) -> None:
        run = make(server)
        answer = server.http.patch(f"/api/experiments/{run}", json=body)
        assert answer.status_code == 400
        assert isinstance(answer.json()["detail"], str)
        assert run not in (stored(server) if (server.root / ".experiments_metadata.json").exists() else {})

    def test_an_unknown_run_is_404(self, server: Server) -> None:
        answer = server.http.patch("/api/experiments/nope", json={"pinned": True})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Run not found: nope"})


class TestDelete:
    def test_runs_go_for_good_and_pinned_ones_need_force(self, server: Server) -> None:
        run, pinned = make(server), make(server)
        server.http.patch(f"/api/experiments/{pinned}", json={"pinned": True})
        answer = delete(server, run_ids=[run, pinned, "unknown", run], force="true").json()
        assert answer["results"] == {run: True, pinned: False, "unknown": False}
        assert not (server.root / run / "resnet/runs" / run).exists()
        assert (server.root / run / "resnet/runs").exists()
        assert delete(server, run_ids=[pinned], force=True).json()["results"] == {pinned: True}
        assert pinned not in stored(server)
        assert search(server, project=pinned, archived=True) == []

    def test_an_entry_whose_run_is_gone_is_removed(self, server: Server) -> None:
        rn.ExperimentManager(server.root).add_experiment("../../victim", "../victim", "../n")
        assert delete(server, run_ids=["../../victim"]).json()["results"] == {"../../victim": True}
        assert "../../victim" not in stored(server)

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            ({}, "run_ids are required"),
            ({"run_ids": None}, "run_ids are required"),
            ({"run_ids": []}, "run_ids are required"),
            ({"run_ids": "x"}, "Invalid value for run_ids: must be a list of strings"),
            ({"run_ids": {}}, "Invalid value for run_ids: must be a list of strings"),
            ({"run_ids": ["x", 1]}, "Invalid value for run_ids: must be a list of strings"),
            ({"run_ids": ["x"] * 101}, "Cannot delete more than 100 runs at once"),
        ],
    )
    def test_wrong_bodies_are_refused(self, server: Server, body: dict[str, Any], detail: str) -> None:
        answer = delete(server, **body)
        assert (answer.status_code, answer.json()) == (400, {"detail": detail})


class TestOneState:
    def test_the_sdk_and_the_server_see_each_others_changes(self, server: Server) -> None:
        run = make(server)
        manager = rn.ExperimentManager(server.root)
        tag(server, run_id=run, tags=["server"])
        assert manager.tag_experiment(run, ["sdk"]) is True
        assert manager.pin_experiment(run) is True
        wait_until(lambda: search(server, project=run)[0]["tags"] == ["server", "sdk"])
        wait_until(lambda: search(server, project=run)[0]["pinned"])
        (found,) = manager.search_experiments(project=run)
        assert (found.tags, found.pinned) == (["server", "sdk"], True)

    def test_what_0_4_0_writes_into_the_file_is_seen(self, server: Server) -> None:
        run = make(server)
        tag(server, run_id=run, tags=["ours"])
        entries = stored(server)
        entries[run] |= {"tags": ["theirs"], "archived": True, "project": "../victim", "updated_at": time.time()}
        entries["damaged"] = {"tags": 5}
        (server.root / ".experiments_metadata.json").write_text(json.dumps(entries))
        wait_until(lambda: search(server, project="../victim", archived=True))
        (found,) = search(server, project="../victim", archived=True)
        assert (found["id"], found["tags"], found["archived"]) == (run, ["theirs"], True)
        assert delete(server, run_ids=[run]).json()["results"] == {run: True}

    def test_entries_that_came_before_their_runs_count(self, server: Server) -> None:
        manager = rn.ExperimentManager(server.root)
        run_id = f"run{next(_numbers)}"
        manager.add_experiment(run_id, run_id, "n", ["early"])
        make_run(server.root, f"{run_id}/n/runs/{run_id}")
        wait_until(lambda: [found["tags"] for found in search(server, project=run_id)] == [["early"]])

    def test_an_older_entry_says_nothing(self, server: Server, tmp_path: Path) -> None:
        run, other = make(server), make(server)
        tag(server, run_id=run, tags=["new"])
        entries = stored(server)
        entries[run] |= {"tags": ["old"], "updated_at": 7.0}
        (server.root / ".experiments_metadata.json").write_text(json.dumps(entries))
        tag(server, run_id=other, tags=["x"])
        wait_until(lambda: search(server, project=other)[0]["tags"] == ["x"])
        assert search(server, project=run)[0]["tags"] == ["new"]
        assert tag(server, run_id=run, tags=["more"]).json() == {"success": True}
        assert search(server, project=run)[0]["tags"] == ["new", "more"]
