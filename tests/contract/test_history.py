"""`GET /api/v2/experiments/{id}/history`: what happened to a run, and what changed from what to what."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runicorn.events.decided import RunTagged
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.sdk.experiments import ExperimentManager
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

RUN = "20250114_000000_aaaaaa"
KEY = f"p/n/runs/{RUN}"
OLD = "20250114_000001_bbbbbb"
T = 1_700_000_000.0


def event(ts: float, kind: str, **data: object) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def own_events() -> list[str]:
    lines = [
        event(T, "run.created", run_id=RUN, project="p", name="n", created_at=T, hostname="gpu1", pid=7),
        event(T + 1, "run.configured", config={"lr": 0.1, "layers": [1, 2]}),
    ]
    lines += [metrics_event(T + 2 + step, loss=1 / (step + 1), global_step=step) for step in range(5000)]
    lines += [event(T + 3000 + step, "image", key="k", path="media/x.png", step=step) for step in range(30)]
    lines += [
        event(T + 8000, "run.summarized", update={"acc": 0.5, "big": 10**30}),
        event(T + 8001, "run.summarized", update={"acc": 0.75, "note": "x" * 5000}),
        event(
            T + 8002, "artifact.logged", name="net", type="model", version=3, created_at=T, size_bytes=5, num_files=1
        ),
        event(T + 8003, "run.praised", by="somebody"),
        event(T + 8004, "run.finished", status="finished", ended_at=T + 8004),
    ]
    return lines


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("history") / "root"
    make_run(root, KEY, events="".join(own_events()), status={"status": "finished", "ended_at": T + 8004})
    make_run(
        root,
        f"p/n/runs/{OLD}",
        meta={"project": "p", "name": "n", "created_at": T, "hostname": "old", "pid": 3},
        status={"status": "finished", "ended_at": T + 5},
        summary={"acc": 0.25},
    )
    with Server(root, "--rate-limit", "off") as server:
        wait_until(lambda: len(server.http.get("/api/runs").json()) == 2, "the runs")
        yield server


def history(server: Server, run_id: str = RUN, **parameters: Any) -> dict[str, Any]:
    answer = server.http.get(f"/api/v2/experiments/{run_id}/history", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def changes(entry: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["before"], change["after"]) for change in entry["changes"]}


def post(server: Server, path: str, body: dict[str, Any]) -> httpx.Response:
    answer = server.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_training_process_tells_what_it_did(server: Server) -> None:
    found = history(server, order_desc="false", types="run.created,run.configured,run.summarized,run.finished")
    assert (found["id"], found["run"], found["next_cursor"]) == (RUN, KEY, None)
    created, configured, first, second, finished = found["entries"]

    assert created["time"] == "2023-11-14T22:13:20Z"
    assert (created["ts"], created["stream"], created["offset"]) == (T, KEY, 0)
    assert (created["origin"], created["who"]) == ("process", {"host": "gpu1", "pid": 7})
    assert created["what"] == "Created in p / n on gpu1"
    assert changes(created)["status"] == (None, "running")
    assert changes(created)["exists"] == (False, True)

    assert changes(configured) == {"config.lr": (None, 0.1), "config.layers": (None, [1, 2])}
    assert changes(first)["summary.acc"] == (None, 0.5)
    assert changes(second)["summary.acc"] == (0.5, 0.75)
    assert changes(finished) == {"status": ("running", "finished")}
    assert finished["who"] == {"host": "gpu1", "pid": 7}


def test_every_entry_names_the_place_of_its_event(server: Server) -> None:
    content = (server.root / KEY / "events.jsonl").read_bytes()
    own = [entry for entry in history(server)["entries"] if entry["stream"] == KEY]
    assert len(own) > 3
    for entry in own:
        line = json.loads(content[entry["offset"] :].split(b"\n", 1)[0])
        assert (line["ts"], line["type"]) == (entry["ts"], entry["type"])


def test_points_and_images_are_summarised_and_never_listed(server: Server) -> None:
    found = history(server, per_page=500)
    assert not {"metrics", "image"} & {entry["type"] for entry in found["entries"]}
    metrics, images = found["summarized"]
    assert (metrics["type"], metrics["count"]) == ("metrics", 5000)
    assert (metrics["first_step"], metrics["last_step"]) == (0, 4999)
    assert (metrics["first_ts"], metrics["last_ts"]) == (T + 2, T + 5001)
    assert metrics["first_time"] == "2023-11-14T22:13:22Z"
    assert (images["type"], images["count"], images["first_step"], images["last_step"]) == ("image", 30, 0, 29)


def test_events_of_plugins_are_in_the_history_too(server: Server) -> None:
    (praised,) = history(server, types="run.praised")["entries"]
    assert (praised["what"], praised["origin"], praised["changes"]) == ("run.praised", "other", [])


def test_artifacts_are_named_with_their_version(server: Server) -> None:
    (logged,) = history(server, types="artifact.logged")["entries"]
    assert changes(logged) == {"artifact_created": (None, "model/net:v3")}


def test_values_that_are_too_large_are_cut(server: Server) -> None:
    second, first = history(server, types="run.summarized")["entries"]
    assert changes(first)["summary.big"] == (None, hex(10**30))
    note = changes(second)["summary.note"][1]
    assert note.startswith("xxx")
    assert len(note) < 2100


def test_what_files_of_0_4_0_said_is_in_the_history(server: Server) -> None:
    found = history(server, OLD, order_desc="false")
    observed = {entry["what"]: changes(entry) for entry in found["entries"]}
    assert observed["meta.json says something new"] == {"project": (None, "p"), "name": (None, "n")}
    assert observed["status.json says something new"]["status"] == (None, "finished")
    assert observed["summary.json says something new"] == {"summary.acc": (None, 0.25)}
    assert {entry["origin"] for entry in found["entries"]} == {"observed"}
    assert found["summarized"] == []


def test_commands_tell_what_was_before(server: Server) -> None:
    post(server, "/api/experiments/tag", {"run_id": RUN, "tags": ["a"]})
    post(server, "/api/experiments/tag", {"run_id": RUN, "tags": ["b"]})
    post(server, "/api/v2/experiments/batch-delete", {"exp_ids": [RUN], "reason": "old"})
    deleted, second, first = history(server, per_page=3)["entries"]
    assert changes(first) == {"tags": ([], ["a"])}
    assert changes(second) == {"tags": (["a"], ["a", "b"])}
    assert (second["what"], second["origin"], second["who"]) == ("Tags: a, b", "command", {"way": "http"})
    before, after = changes(deleted)["deleted"]
    assert (before, after["reason"], after["original_status"]) == (None, "old", "finished")

    post(server, "/api/recycle-bin/restore", {"run_ids": [RUN]})
    (restored,) = history(server, per_page=1)["entries"]
    assert changes(restored) == {"deleted": (after, None)}


def test_commands_tell_on_which_way_they_came_and_for_whom(server: Server) -> None:
    user = getpass.getuser()
    ExperimentManager(server.root).pin_experiment(RUN)
    server.command("manage", "--action", "tag", "--run-id", RUN, "--tags", "by hand")
    post(server, "/api/experiments/tag", {"run_id": RUN, "tags": ["by request"]})
    requested, by_hand, pinned = history(server, types="run.tagged,run.pinned", per_page=3)["entries"]
    assert pinned["who"] == {"way": "sdk", "user": user}
    assert by_hand["who"] == {"way": "cli", "user": user}
    assert requested["who"] == {"way": "http"}
    told = server.command("history", RUN, "--limit", "3", "--type", "run.tagged", "--type", "run.pinned").splitlines()
    assert ["over HTTP" in told[1], f"{user}, command line" in told[2], f"{user}, SDK" in told[3]] == [True] * 3
    log = b"".join(path.read_bytes() for path in server.root.glob(".runicorn/log/*.jsonl"))
    assert b"127.0.0.1" not in log, "addresses are not recorded"


def test_pages_are_parts_of_the_whole_in_both_orders(server: Server) -> None:
    whole = history(server, per_page=500)["entries"]
    assert len(whole) >= 7
    for newest_first in ("true", "false"):
        entries: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = history(server, per_page=2, order_desc=newest_first, **cursor)
            assert len(page["entries"]) <= 2
            entries += page["entries"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert entries == (whole if newest_first == "true" else whole[::-1])


def test_a_filter_leaves_out_entries_and_changes_none(server: Server) -> None:
    whole = history(server, per_page=500)["entries"]
    for types in ("run.tagged", "run.tagged,run.finished", "run.observed", "nothing.such"):
        found = history(server, types=types, per_page=500)["entries"]
        assert found == [entry for entry in whole if entry["type"] in types.split(",")]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"cursor": "nonsense"}, "Invalid value for cursor: must be the next_cursor of an earlier answer"),
        ({"cursor": ""}, None),
        ({"per_page": 0}, None),
        ({"per_page": 501}, None),
        ({"order_desc": "perhaps"}, None),
    ],
)
def test_what_cannot_be_understood_is_refused(server: Server, parameters: dict[str, Any], detail: str | None) -> None:
    answer = server.http.get(f"/api/v2/experiments/{RUN}/history", params=parameters)
    if parameters.get("cursor") == "":  # an empty parameter counts as absent
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    if detail is not None:
        assert answer.json()["detail"] == detail


def test_a_cursor_goes_with_its_own_order(server: Server) -> None:
    cursor = history(server, per_page=1)["next_cursor"]
    answer = server.http.get(f"/api/v2/experiments/{RUN}/history", params={"cursor": cursor, "order_desc": "false"})
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Invalid value for cursor: it belongs to another order_desc",
    )


def test_an_unknown_run_is_a_404_like_its_neighbours(server: Server) -> None:
    answer = server.http.get("/api/v2/experiments/20200101_000000_ffffff/history")
    neighbour = server.http.get("/api/v2/experiments/20200101_000000_ffffff")
    assert (answer.status_code, answer.json()) == (404, neighbour.json())


def test_what_was_logged_a_moment_ago_is_in_the_answer(server: Server) -> None:
    with (server.root / KEY / "events.jsonl").open("a") as file:
        file.write(event(T + 9000, "run.summarized", update={"acc": 0.9}))
    (newest,) = history(server, types="run.summarized", per_page=1)["entries"]
    assert changes(newest) == {"summary.acc": (0.75, 0.9)}


def test_far_back_is_unknown_and_not_wrong(serve: Callable[..., Server], tmp_path: Path) -> None:
    lines = [event(T, "run.created", run_id=RUN, project="p", name="n", created_at=T)]
    lines += [event(T, "run.summarized", update={"first": 1})]
    lines += [event(T + step, "run.summarized", update={"acc": step}) for step in range(1, 3000)]
    lines.append(event(T + 5000, "run.summarized", update={"first": 2, "acc": 5000}))
    lines.append(event(T + 6000, "run.finished", status="finished", ended_at=T + 6000))
    make_run(tmp_path / "root", KEY, events="".join(lines))
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 1, "the run")
    finished, newest = history(server, types="run.summarized,run.finished", per_page=2)["entries"]
    assert history(server, per_page=2)["entries"] == [finished, newest]
    assert changes(finished) == {"status": ("running", "finished")}, "however much lies between"
    found = {change["field"]: change for change in newest["changes"]}
    assert found["summary.acc"] == {"field": "summary.acc", "before": 2999, "after": 5000}
    assert found["summary.first"] == {"field": "summary.first", "before": None, "after": 2, "is_before_known": False}


def test_between_the_entries_of_a_filter_nothing_is_overlooked(server: Server) -> None:
    whole = history(server, per_page=500, order_desc="false")["entries"]
    assert len(whole) > 3
    for kind in sorted({entry["type"] for entry in whole}):
        found = history(server, types=kind, per_page=500, order_desc="false")["entries"]
        assert found == [entry for entry in whole if entry["type"] == kind]


def test_an_event_that_is_too_long_is_named_and_makes_nothing_else_wrong(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    lines = [event(T, "run.summarized", update={"acc": 1, "other": 1})]
    lines.append(event(T + 1, "run.summarized", update={"acc": 2, "text": "x" * (2 << 20)}))
    lines.append(event(T + 2, "run.summarized", update={"acc": 3}))
    make_run(tmp_path / "root", KEY, events="".join(lines))
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 1, "the run")
    last, long, first = history(server, types="run.summarized")["entries"]
    assert (long["what"], long["changes"], long["ts"]) == ("run.summarized, which cannot be read", [], T + 1)
    assert changes(first)["summary.acc"] == (None, 1)
    assert last["changes"] == [{"field": "summary.acc", "before": None, "after": 3, "is_before_known": False}]


def test_as_of_a_time_the_history_ends_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make_run(root, KEY, events="".join(own_events()))
    commands = StoreStream(FileLog(root, root / ".runicorn/state"))
    commands.append(RunTagged(run=KEY, run_id=RUN, tags=["then"]), ts=T + 10)
    commands.append(RunTagged(run=KEY, run_id=RUN, tags=["later"]), ts=T + 9000)
    with Server(root, "--as-of", "2023-11-15T00:26:40.500Z", "--rate-limit", "off") as past:
        types = [entry["type"] for entry in history(past)["entries"]]
    assert types == ["run.summarized", "run.tagged", "run.configured", "run.created"]


def test_a_run_without_events_has_an_empty_history_of_its_own(serve: Callable[..., Server], tmp_path: Path) -> None:
    make_run(tmp_path / "root", KEY, events=metrics_event(T, loss=1.0))
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 1, "the run")
    found = history(server)
    assert {entry["type"] for entry in found["entries"]} <= {"run.observed"}
    assert found["summarized"][0]["count"] == 1
