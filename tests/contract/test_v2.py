"""V2 lists and details of runs over HTTP, compared with a model that filters and sorts in plain Python."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

RUNS = 60
PROJECTS = ["vision", "Vision", "nlp", "straße", "50%_off"]
NAMES = ["resnet", "ResNet", "bert", "a'b", "ünï"]
STATUSES = ["finished", "failed", "running", "paused, maybe", "Finished"]
TAGS = ["baseline", "Baseline", "x y", "50%"]
DESCRIPTIONS = [None, None, "Erste VERSUCHE", "uses 5%_more"]
ITEM = [
    "id", "run_dir", "created_time", "status", "pid", "best_metric_value", "best_metric_name", "project", "name", "logs",
    "metrics", "metrics_step", "created_at", "updated_at", "started_at", "ended_at", "duration_seconds",
    "best_metric_step", "best_metric_mode", "metric_count", "tags", "description", "deleted_at", "delete_reason",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Sixty runs of all kinds; every twelfth is in the recycle bin, some have no values, ids differ in case only."""
    base = tmp_path_factory.mktemp("v2")
    choose = random.Random(7)
    annotations: list[tuple[str, dict[str, Any]]] = []
    for number in range(RUNS):
        project, name = choose.choice(PROJECTS), choose.choice(NAMES)
        run_id = (
            f"{'Run' if number % 2 else 'rUN'}_{number // 2:02}"
            if number % 5 == 0
            else f"20250114_0000{number:02}_abcdef"
        )
        created = 1_700_000_000 + choose.randrange(20)
        status: dict[str, Any] = {"status": choose.choice(STATUSES)}
        if number % 3:
            status |= {"started_at": created + 1.0, "ended_at": created + 1.0 + choose.randrange(9)}
        summary: dict[str, Any] = {}
        if number % 4:
            summary = {
                "best_metric_value": choose.randrange(8) / 4,
                "best_metric_name": "acc",
                "best_metric_step": number,
            }
        meta = {"project": project, "name": name, "created_at": created, "hostname": "elsewhere", "pid": 5}
        summary["lr"] = choose.choice([0.1, 0.01, "auto"])
        key = f"p{number}/{name}/runs/{run_id}"
        losses = [choose.choice([0.5, 2, math.nan]) for _ in range(choose.randrange(4))]
        events = "".join(metrics_event(created, loss=loss, global_step=step) for step, loss in enumerate(losses))
        folder = make_run(base / "root", key, meta=meta, status=status, summary=summary, events=events or None)
        said = {"run": key, "run_id": run_id}
        tags, description = [tag for tag in TAGS if choose.random() < 0.3], choose.choice(DESCRIPTIONS)
        annotations += [("run.tagged", {**said, "tags": tags}), ("run.described", {**said, "description": description})]
        if number % 12 == 0:
            (folder / ".deleted").write_text(json.dumps({"deleted_at": created + 50.0, "reason": "user_deleted"}))
    log = base / "root" / ".runicorn" / "log" / "00000001.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps({"ts": 5.0, "type": kind, "data": data}) + "\n" for kind, data in annotations))
    environment = {"XDG_CONFIG_HOME": str(base / "config")}
    server = Server(base / "root", "--rate-limit", "off", environment=environment)
    wait_until(lambda: listed(server, include_deleted="true")["total"] == RUNS, "all runs to be known")
    yield server
    server.stop()


def listed(server: Server, **query: object) -> dict[str, Any]:
    response = server.http.get("/api/v2/experiments", params=query)
    if response.status_code == 503:
        return {"total": -1}
    assert response.status_code == 200, response.text + server.log
    return response.json()


@pytest.fixture(scope="module")
def everything(server: Server) -> list[dict[str, Any]]:
    return listed(server, include_deleted="true", per_page=1000)["experiments"]


def test_an_item_has_every_field(server: Server, everything: list[dict[str, Any]]) -> None:
    for item in everything:
        assert list(item) == ITEM + (["stale", "last_activity"] if item.get("stale") else [])
    item = next(item for item in everything if item["ended_at"] and item["status"] == "finished")
    folder = item["run_dir"]
    assert Path(folder, "meta.json").exists()
    assert (item["logs"], item["metrics"], item["metrics_step"]) == (
        f"{folder}/logs.txt", f"{folder}/events.jsonl", f"{folder}/events.jsonl",
    )  # fmt: skip
    assert item["created_at"] == item["created_time"]
    assert item["duration_seconds"] == item["ended_at"] - item["started_at"]
    assert item["updated_at"] == item["ended_at"]
    assert (item["pid"], item["deleted_at"], item["delete_reason"]) == (5, None, None)


def test_a_running_run_has_no_duration(everything: list[dict[str, Any]]) -> None:
    assert all(item["duration_seconds"] is None for item in everything if item["status"] == "running")


def test_v1_and_v2_agree(server: Server) -> None:
    first = {item["run_dir"]: item for item in server.http.get("/api/runs").json()}
    second = {item["run_dir"]: item for item in listed(server, per_page=1000)["experiments"]}
    assert first.keys() == second.keys()
    for folder, item in first.items():
        shared = item.keys() & second[folder].keys()
        assert {key: item[key] for key in shared} == {key: second[folder][key] for key in shared}


def test_the_newest_come_first_without_the_recycle_bin(server: Server, everything: list[dict[str, Any]]) -> None:
    answer = listed(server)
    expected = [item["run_dir"] for item in in_order([item for item in everything if item["deleted_at"] is None])]
    assert [item["run_dir"] for item in answer["experiments"]] == expected[:50]
    assert (answer["total"], answer["page"], answer["per_page"]) == (RUNS - 5, 1, 50)
    assert (answer["has_next"], answer["has_prev"]) == (True, False)
    assert answer["query_time_ms"] == round(answer["query_time_ms"], 2)


def in_order(items: list[dict[str, Any]], by: str = "created_at", descending: bool = True) -> list[dict[str, Any]]:
    def text(value: str) -> tuple[str, str]:
        return value.casefold(), value

    def key(item: dict[str, Any]) -> Any:
        value = item[by]
        return text(value) if isinstance(value, str) else value

    known = [item for item in items if item[by] is not None]
    unknown = [item for item in items if item[by] is None]
    by_id = [sorted(part, key=lambda item: text(item["id"]), reverse=descending) for part in (known, unknown)]
    return [*sorted(by_id[0], key=key, reverse=descending), *by_id[1]]


SEARCHED = ("project", "name", "id", "description")
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "project": st.sampled_from([*PROJECTS, "none", ""]),
        "name": st.sampled_from(NAMES),
        "status": st.lists(st.sampled_from([*STATUSES[:3], " finished ", "", "unknown", "Finished"]), max_size=3).map(",".join),
        "search": st.sampled_from(["RES", "strasse", "%", "_", "'", "run_1", " nlp ", "ÜN", "20250114_000011", " ", "*",
                                   "versuche", "5%_"]),
        "tags": st.lists(st.sampled_from([*TAGS, " baseline ", "", "none"]), max_size=2).map(",".join),
        "created_after": st.integers(1_699_999_999, 1_700_000_021),
        "created_before": st.floats(1_699_999_999.5, 1_700_000_021),
        "best_metric_min": st.sampled_from([0, 0.25, 1, 2.5, -1]),
        "best_metric_max": st.sampled_from([0, 0.5, 1.75]),
        "include_deleted": st.sampled_from(["true", "0", "YES", ""]),
        "order_by": st.sampled_from(
            ["created_at", "created_time", "updated_at", "started_at", "ended_at", "duration_seconds",
             "best_metric_value", "best_metric_step", "metric_count", "status", "project", "name", "id"]
        ),
        "order_desc": st.sampled_from(["true", "false"]),
        "per_page": st.sampled_from([1, 7, 50, 1000]),
    },
)  # fmt: skip


def wanted(item: dict[str, Any], query: dict[str, Any]) -> bool:
    statuses = [part.strip() for part in query.get("status", "").split(",") if part.strip()]
    search = query.get("search", "").strip().casefold()
    best, low, high = item["best_metric_value"], query.get("best_metric_min"), query.get("best_metric_max")
    return (
        (not query.get("project") or item["project"] == query["project"])
        and (not query.get("name") or item["name"] == query["name"])
        and (not statuses or item["status"] in statuses)
        and set(filter(None, map(str.strip, query.get("tags", "").split(",")))) <= set(item["tags"])
        and (not search or any(search in (item[key] or "").casefold() for key in SEARCHED))
        and query.get("created_after", -math.inf) <= item["created_at"] <= query.get("created_before", math.inf)
        and (low is None or (best is not None and best >= low))
        and (high is None or (best is not None and best <= high))
        and (item["deleted_at"] is None or query.get("include_deleted") in ("true", "YES"))
    )


@pytest.mark.slow(3)
@settings(max_examples=150)
@given(query=FILTERS)
def test_walking_all_pages_gives_every_match_once_and_in_order(
    server: Server, everything: list[dict[str, Any]], query: dict[str, Any]
) -> None:
    matches = [item for item in everything if wanted(item, query)]
    by, descending = query.get("order_by", "created_at"), query.get("order_desc", "true") == "true"
    expected = [item["run_dir"] for item in in_order(matches, by, descending)]
    found: list[str] = []
    page, more = 1, True
    while more:
        answer = listed(server, **query, page=page)
        found += [item["run_dir"] for item in answer["experiments"]]
        assert answer["total"] == len(expected)
        assert answer["has_prev"] == (page > 1)
        page, more = page + 1, answer["has_next"]
    assert found == expected
    assert walked(server, query) == expected


def walked(server: Server, query: dict[str, Any]) -> list[str]:
    """By cursors."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = listed(server, **query, **cursor)
        found += [item["run_dir"] for item in answer["experiments"]]
        assert answer["has_next"] == (answer["next_cursor"] is not None)
        if answer["next_cursor"] is None:
            return found
        cursor = {"cursor": answer["next_cursor"]}


@pytest.mark.parametrize("descending", ["true", "false"])
@pytest.mark.parametrize("field", ["metric.loss.min", "metric.loss.count", 'metric."loss"', "summary.lr", "config.lr"])
def test_runs_are_sorted_by_any_value(
    server: Server, everything: list[dict[str, Any]], field: str, descending: str
) -> None:
    query = {"order_by": field, "order_desc": descending, "per_page": 7, "include_deleted": "true"}
    found = walked(server, query)
    assert sorted(found) == sorted(item["run_dir"] for item in everything)
    values = [number_of(Path(folder), field) for folder in found]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=descending == "true")
    assert values == [*known, *[None] * (len(values) - len(known))]


def number_of(folder: Path, field: str) -> float | None:
    family, _, name = field.partition(".")
    if family == "config":
        return None
    if family == "summary":
        value = json.loads((folder / "summary.json").read_text())[name]
        return value if isinstance(value, float) else None
    events = folder / "events.jsonl"
    losses = [json.loads(line)["data"]["loss"] for line in events.read_text().splitlines()] if events.exists() else []
    finite = [loss for loss in losses if math.isfinite(loss)]
    if field.endswith(".count"):
        return len(losses) or None
    if field.endswith(".min"):
        return min(finite, default=None)
    return losses[-1] if losses and math.isfinite(losses[-1]) else None


def test_a_query_of_the_filter_language_works_with_filters_orders_and_pages(
    server: Server, everything: list[dict[str, Any]]
) -> None:
    q = '(metric.loss.min < 1 or tag = baseline) and not status in (running, "paused, maybe") and summary.lr exists'
    expected = [
        item["run_dir"]
        for item in in_order(everything, "best_metric_value")
        if item["deleted_at"] is None
        and (number_of(Path(item["run_dir"]), "metric.loss.min") == 0.5 or "baseline" in item["tags"])
        and item["status"] not in ("running", "paused, maybe")
        and item["project"] in PROJECTS[:3]
    ]
    assert 3 < len(expected) < RUNS / 2
    query = {"q": f"{q} and project in (vision, Vision, nlp)", "order_by": "best_metric_value", "per_page": 3}
    assert walked(server, query) == expected
    assert listed(server, **query)["total"] == len(expected)


def test_a_mistake_in_a_query_is_shown_where_it_is(server: Server) -> None:
    response = server.http.get("/api/v2/experiments", params={"q": "status = a and foo = 1"})
    assert response.status_code == 400
    body = response.json()
    assert body["column"] == 16
    first, line, caret = body["detail"].split("\n")
    assert first.startswith("Invalid value for q: `foo`: no such field")
    assert (line, caret) == ("status = a and foo = 1", f"{' ' * 15}^")


def test_a_cursor_belongs_to_its_order(server: Server) -> None:
    cursor = listed(server, per_page=1)["next_cursor"]
    for query, detail in (
        ({"order_by": "name"}, "it belongs to another order_by or order_desc"),
        ({"order_desc": "false"}, "it belongs to another order_by or order_desc"),
        ({"page": 2}, "goes without page"),
    ):
        response = server.http.get("/api/v2/experiments", params={"cursor": cursor, **query})
        assert (response.status_code, response.json()["detail"]) == (400, f"Invalid value for cursor: {detail}")


def test_facets_count_the_matching_runs(server: Server, everything: list[dict[str, Any]]) -> None:
    for query, matches in (
        ({}, [item for item in everything if item["deleted_at"] is None]),
        ({"include_deleted": "true", "name": "bert"}, [item for item in everything if item["name"] == "bert"]),
    ):
        facets = listed(server, facets="true", **query)["facets"]
        for facet, values in (
            ("statuses", [item["status"] for item in matches]),
            ("projects", [item["project"] for item in matches]),
            ("tags", [tag for item in matches for tag in item["tags"]]),
        ):
            assert facets[facet] == {value: values.count(value) for value in values}
            assert list(facets[facet].values()) == sorted(facets[facet].values(), reverse=True)
    assert "facets" not in listed(server)


def test_cells_that_are_numbers_are_counted(everything: list[dict[str, Any]]) -> None:
    for item in everything:
        assert item["metric_count"] == (number_of(Path(item["run_dir"]), "metric.loss.count") or 0)
    assert any(item["metric_count"] for item in everything)


@pytest.mark.parametrize("page", [3, 10**6, 10**30])
def test_a_page_beyond_the_end_is_empty(server: Server, page: int) -> None:
    for query in ({}, {"search": "e"}, {"order_by": "name"}):
        answer = listed(server, page=page, **query)
        assert (answer["experiments"], answer["has_next"], answer["has_prev"]) == ([], False, True)
        assert answer["total"] > 0


def test_a_list_without_tags_is_no_condition(server: Server) -> None:
    assert 0 < listed(server, tags="baseline,x y")["total"] < listed(server, tags="baseline")["total"] < RUNS / 2
    assert listed(server, tags=" , ")["total"] == RUNS - 5


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"order_by": "RANDOM()"}, "Invalid order_by: RANDOM()"),
        ({"order_by": "created_at; DROP TABLE run"}, "Invalid order_by: created_at; DROP TABLE run"),
        ({"order_by": "name ASC, project"}, "Invalid order_by: name ASC, project"),
        ({"order_by": "metric_counts"}, "Invalid order_by: metric_counts"),
        ({"order_by": "metric."}, "Invalid order_by: metric."),
        ({"order_by": "config.lr desc"}, "Invalid order_by: config.lr desc"),
        ({"order_by": "metric.a = 1"}, "Invalid order_by: metric.a = 1"),
        ({"q": "status >"}, "Invalid value for q: "),
        ({"cursor": "x"}, "Invalid value for cursor: "),
        ({"cursor": "WzFd"}, "Invalid value for cursor: "),
        ({"facets": "maybe"}, "Invalid value for facets: "),
        ({"page": "0"}, "Invalid value for page: "),
        ({"page": "-1"}, "Invalid value for page: "),
        ({"page": "one"}, "Invalid value for page: "),
        ({"per_page": "0"}, "Invalid value for per_page: "),
        ({"per_page": "1001"}, "Invalid value for per_page: "),
        ({"created_after": "nan"}, "Invalid value for created_after: "),
        ({"created_before": "inf"}, "Invalid value for created_before: "),
        ({"best_metric_min": "1e999"}, "Invalid value for best_metric_min: "),
        ({"best_metric_max": "x"}, "Invalid value for best_metric_max: "),
        ({"include_deleted": "maybe"}, "Invalid value for include_deleted: "),
        ({"order_desc": "down"}, "Invalid value for order_desc: "),
    ],
)
def test_a_wrong_parameter_is_named(server: Server, query: dict[str, str], detail: str) -> None:
    response = server.http.get("/api/v2/experiments", params=query)
    assert response.status_code == 400
    assert response.json()["detail"].startswith(detail)
    assert listed(server)["total"] == RUNS - 5


def test_of_a_repeated_parameter_the_last_one_counts(server: Server) -> None:
    answer = server.http.get("/api/v2/experiments?per_page=1&per_page=3&project=x&project=&unknown=1").json()
    assert (answer["per_page"], len(answer["experiments"]), answer["total"]) == (3, 3, RUNS - 5)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["project", "status", "search", "tags", "order_by", "page", "created_after", "q", "cursor"]),
        st.text(),
    )
)
def test_no_value_is_a_bug(server: Server, query: dict[str, str]) -> None:
    response = server.http.get("/api/v2/experiments", params=query)
    assert response.status_code in (200, 400)
    assert response.headers["content-type"].startswith("application/json")


def test_one_run_has_what_lists_show_and_what_its_folder_holds(serve: Callable[..., Server], tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "root", "p/n/runs/20250114_000000_abcdef", meta={"created_at": 5.0}, summary={}, environment={}
    )
    for name in ("status.json.lock", "media/a.png", "media/deep/b.lock", "media/deep/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "media" / "link").symlink_to(folder / "meta.json")
    (folder / "media" / "loop").symlink_to(folder)
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: listed(server)["total"] == 1, "the run")
    answer = server.http.get(f"/api/v2/experiments/{folder.name}").json()
    assert answer == {
        "experiment": listed(server)["experiments"][0],
        "metrics_summary": {"total_data_points": 0, "available_metrics": [], "step_range": None},
        "environment_available": True,
        "file_count": 5,
    }


def test_a_run_in_the_recycle_bin_is_still_found(server: Server, everything: list[dict[str, Any]]) -> None:
    deleted = next(item for item in everything if item["deleted_at"] is not None)
    answer = server.http.get(f"/api/v2/experiments/{deleted['id']}").json()
    assert answer["experiment"] == deleted
    assert (deleted["delete_reason"], deleted["deleted_at"]) == ("user_deleted", deleted["created_at"] + 50)
    assert answer["environment_available"] is False


@pytest.mark.parametrize("exp_id", ["20250101_000000_000000", "batch-delete", "..", "%2e%2e%2f", "a b", "é"])
def test_an_unknown_run_is_not_found(server: Server, exp_id: str) -> None:
    response = server.http.get(f"/api/v2/experiments/{exp_id}")
    assert response.status_code == 404
    if "%" not in exp_id and exp_id != "..":
        assert response.json() == {"detail": f"Experiment {exp_id} not found"}


def test_a_new_run_is_found_at_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: listed(server)["total"] == 0, "the read models")
    events = [
        {
            "ts": 10.0,
            "type": "run.created",
            "data": {"run_id": "mine", "project": "p", "name": "n", "created_at": 10.0},
        },
        {"ts": 12.0, "type": "metrics", "data": {"loss": 1.0, "global_step": 1}},
    ]
    folder = make_run(tmp_path / "root", "p/n/runs/mine", events="".join(json.dumps(event) + "\n" for event in events))

    def answered() -> bool:
        return server.http.get("/api/v2/experiments/mine").status_code == 200

    wait_until(answered, "the new run")
    experiment = server.http.get("/api/v2/experiments/mine").json()["experiment"]
    assert (experiment["run_dir"], experiment["status"], experiment["updated_at"]) == (str(folder), "running", 12.0)
    with (folder / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"ts": 20.0, "type": "metrics", "data": {"loss": 0.5, "global_step": 2}}) + "\n")
    wait_until(
        lambda: server.http.get("/api/v2/experiments/mine").json()["experiment"]["updated_at"] == 20.0, "the event"
    )


@pytest.mark.slow(3)
def test_counts_follow_every_change_of_a_run(serve: Callable[..., Server], tmp_path: Path) -> None:
    root = tmp_path / "root"
    folders = [
        make_run(root, f"p/n/runs/run{number}", meta={"project": "p", "created_at": 5.0}, status={"status": "finished"})
        for number in range(3)
    ]
    server = serve(root, "--rate-limit", "off")

    def counts() -> list[int]:
        queries: list[dict[str, str]] = [
            {},
            {"project": "p"},
            {"status": "finished"},
            {"project": "p", "status": "failed"},
        ]
        return [listed(server, **query)["total"] for query in queries]

    wait_until(lambda: counts() == [3, 3, 3, 0], "three finished runs")
    (folders[0] / "status.json").write_text(json.dumps({"status": "failed", "ended_at": time.time()}))
    wait_until(lambda: counts() == [3, 3, 2, 1], "a run to fail")
    (folders[1] / ".deleted").write_text(json.dumps({"deleted_at": time.time(), "reason": "user_deleted"}))
    wait_until(lambda: counts() == [2, 2, 1, 1], "a run to be deleted")
    (folders[2] / "meta.json").write_text(json.dumps({"project": "q", "created_at": time.time()}))
    wait_until(lambda: counts() == [2, 1, 1, 1], "a run to change its project")
    (folders[1] / ".deleted").unlink()
    wait_until(lambda: counts() == [3, 2, 2, 1], "a run to be restored")
    for file in folders[0].iterdir():
        file.unlink()
    folders[0].rmdir()
    wait_until(lambda: counts() == [2, 1, 2, 0], "a run to vanish")


def test_without_the_runs_plugin_storage_is_not_an_empty_list(serve: Callable[..., Server]) -> None:
    server = serve(None, "--without", "runs")
    for path in ("/api/v2/experiments", "/api/v2/experiments/x"):
        response = server.http.get(path)
        assert (response.status_code, response.json()) == (503, {"detail": "The plugin runs is not enabled"})


def test_limits_and_description_of_the_routes(serve: Callable[..., Server]) -> None:
    server = serve(None)
    for path, limit in (("/api/v2/experiments", "100"), ("/api/v2/experiments/x", "200")):
        assert server.http.get(path).headers["x-ratelimit-limit"] == limit
    paths = msgspec.json.decode(server.http.get("/openapi.json").content)["paths"]
    parameters = {parameter["name"] for parameter in paths["/api/v2/experiments"]["get"]["parameters"]}
    assert {"project", "status", "search", "page", "order_by", "best_metric_max"} <= parameters
    assert "/api/v2/experiments/{exp_id}" in paths
