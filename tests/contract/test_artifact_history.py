"""`GET /api/artifacts/{name}/history`: versions, aliases, deletions, stages and evaluations of an artifact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from runicorn.artifacts import Artifact, create_artifact_storage
from tests.plugins.artifacts.artifact_folders import ArtifactFolder
from tests.serving import Server, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("artifact-history")
    root = base / "root"
    storage = create_artifact_storage(root)
    for content in ("one", "two"):
        (base / "weights").write_text(content)
        artifact = Artifact("net", "model").add_file(base / "weights")
        storage.save_artifact(artifact, "r1", *artifact.staged)
    ArtifactFolder(root, "dataset", "old").save(1)
    with Server(root, "--rate-limit", "off") as server:
        wait_until(lambda: len(server.http.get("/api/artifacts").json()) == 2, "the artifacts")
        yield server


def send(server: Server, method: str, path: str, **arguments: Any) -> None:
    answer = server.http.request(method, f"/api/artifacts{path}", **arguments)
    assert answer.status_code == 200, answer.text


def history(server: Server, name: str = "net", **parameters: Any) -> dict[str, Any]:
    answer = server.http.get(f"/api/artifacts/{name}/history", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def changes(entry: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["before"], change["after"]) for change in entry["changes"]}


def test_each_change_tells_what_was_before(server: Server) -> None:
    send(server, "PUT", "/net/v1/aliases/best")
    send(server, "PUT", "/net/v2/aliases/best")
    send(server, "POST", "/net/v1/promote", json={"to_stage": "staging", "evaluator_run_id": "r9"})
    send(server, "POST", "/net/v1/promote", json={"to_stage": "production", "notes": "good"})
    send(server, "POST", "/net/v1/evaluate", json={"status": "passed", "metrics": {"acc": 0.5}})
    send(server, "DELETE", "/net/v2")
    send(server, "POST", "/net/v2/restore")
    send(server, "DELETE", "/net/aliases/best")
    send(server, "DELETE", "/net/v2", params={"permanent": True})

    found = history(server, order_desc="false")
    assert (found["name"], found["type"], found["next_cursor"]) == ("net", "model", None)
    entries = found["entries"]
    assert [entry["type"] for entry in entries] == [
        "artifact.version_created",
        "artifact.version_created",
        "artifact.aliased",
        "artifact.aliased",
        "artifact.promoted",
        "artifact.promoted",
        "artifact.aliased",
        "artifact.evaluated",
        "artifact.deleted",
        "artifact.restored",
        "artifact.aliased",
        "artifact.purged",
    ]
    told = [changes(entry) for entry in entries]
    assert told[0] == {"versions.v1.exists": (None, True)}
    assert entries[0]["who"]["run_id"] == "r1"
    assert told[2:4] == [{"aliases.best": (None, 1)}, {"aliases.best": (1, 2)}]
    assert told[4] == {"versions.v1.stage": ("experimental", "staging")}
    assert entries[4]["who"] == {"run_id": "r9", "way": "http"}
    assert told[5:7] == [{"versions.v1.stage": ("staging", "production")}, {"aliases.production": (None, 1)}]
    assert "passed, acc 0.5" in entries[7]["what"]
    (deleted_at,) = (after for _, after in told[8].values())
    assert told[9] == {"versions.v2.deleted_at": (deleted_at, None)}
    assert told[10] == {"aliases.best": (2, None)}
    assert told[11] == {"versions.v2.exists": (True, False)}

    newest = history(server, per_page=2)
    assert newest["entries"] == entries[:-3:-1]
    following = history(server, per_page=500, cursor=newest["next_cursor"])
    assert newest["entries"] + following["entries"] == entries[::-1]
    aliased = history(server, types="artifact.aliased")
    assert aliased["entries"] == [entry for entry in entries[::-1] if entry["type"] == "artifact.aliased"]


def test_what_0_4_0_did_is_in_the_history(server: Server) -> None:
    entries = history(server, "old", type="dataset")["entries"]
    assert {entry["origin"] for entry in entries} == {"observed"}
    (version,) = (entry for entry in entries if entry["type"] == "artifact.version_observed")
    assert changes(version)["versions.v1.exists"] == (None, True)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing/history", 404),
        ("/net/history?type=dataset", 404),
        ("/net/history?type=..", 400),
        ("/..%2f..%2fx/history", 404),
        ("/net/history?cursor=x", 400),
        ("/net/history?per_page=0", 400),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_as_by_the_neighbours(server: Server, path: str, status: int) -> None:
    assert server.http.get(f"/api/artifacts{path}").status_code == status


def test_as_of_a_time_the_history_ends_there(server: Server) -> None:
    send(server, "PUT", "/net/v1/aliases/then")
    then = time.time()
    send(server, "PUT", "/net/v1/aliases/later")
    entries = history(server)["entries"]
    with Server(server.root, "--as-of", datetime.fromtimestamp(then, UTC).isoformat(), "--rate-limit", "off") as past:
        assert history(past)["entries"] == entries[1:]
