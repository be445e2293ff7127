"""The SQL of a query finds the runs that the query means, on stores of any content."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runicorn.events.log import FileLog, Stream
from runicorn.projection.catch_up import catch_up
from runicorn.projection.model import ReadModel
from runicorn_query.language import compile_condition, parse
from runicorn_query.limits import limited
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_list import RunList
from runicorn_runs.projections.run_values import RunValues
from tests.query_model import Run, holds

NOW = 1_700_000_000.0
PROJECTS, NAMES = ["vision", "Vision", "straße", "a'b"], ["resnet", "50%_off", "and"]
STATUSES = ["finished", "failed", "running", "paused, maybe", "PAUSÉ"]
TAGS = ["base", "Base", "x y", "ÄRGER"]
KEYS = ["lr", "opt.name", "odd key", "Ä/b", "notes"]
METRICS = ["loss", "val/loss", "a.min", "odd key"]
VALUES: list[Any] = [
    0,
    0.5,
    -1.5,
    1e300,
    10**30,
    True,
    "adam",
    "Adam W",
    "0.5",
    "",
    "ÉTÉ 训练",
    "GROẞ",
    None,
    math.nan,
    [1],
]


def make(number: int, choose: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    """A run stream, and what a query may find out about it."""
    created = NOW - 86400 * choose.randrange(6) - choose.randrange(3) * 3600
    events: list[tuple[float, str, Any]] = []
    project, name = choose.choice(PROJECTS), choose.choice(NAMES)
    run_id = f"{'Run' if number % 2 else 'run'}_{number:03}"
    config = {key: value for key in KEYS if (value := choose.choice(VALUES)) is not None and choose.random() < 0.6}
    created_event = {"run_id": run_id, "project": project, "name": name, "created_at": created}
    events.append((created, "run.created", created_event))
    events.append((created, "run.configured", {"config": config}))
    metrics: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        values = [choose.choice([0.5, 1.5, -2, 7, math.nan]) for _ in range(choose.randrange(4))]
        for step, value in enumerate(values):
            events.append((created + step, "metrics", {metric: value, "global_step": step}))
        finite = [value for value in values if math.isfinite(value)]
        if values:
            last = values[-1] if math.isfinite(values[-1]) else None
            low, high = min(finite, default=None), max(finite, default=None)
            metrics[metric] = {"last": last, "min": low, "max": high, "count": len(values)}
    summary = {key: value for key in KEYS if (value := choose.choice(VALUES)) is not None and choose.random() < 0.6}
    if choose.random() < 0.5:
        summary |= {
            "best_metric_value": choose.choice([0.25, 0.5, 2]),
            "best_metric_name": choose.choice(["acc", "GÜTE"]),
            "best_metric_step": 3,
        }
    events.append((created + 5, "run.summarized", {"update": summary}))
    status = choose.choice(STATUSES)
    ended = created + choose.choice([60, 3600, 5400])
    if status != "running":
        events.append((ended, "run.finished", {"status": status, "ended_at": ended}))
    lines = b"".join(json.dumps({"ts": ts, "type": kind, "data": data}).encode() + b"\n" for ts, kind, data in events)
    facts = {
        "id": run_id, "project": project, "name": name, "status": status, "description": None, "tag": [],
        "best_metric": summary.get("best_metric_value"), "best_metric_name": summary.get("best_metric_name"),
        "best_step": summary.get("best_metric_step"),
        "metric_count": sum(total["count"] for total in metrics.values()), "metrics": metrics,
        "duration": None if status == "running" else ended - created,
        "created": created, "started": created, "ended": None if status == "running" else ended, "deleted": None,
        "updated": max(ts for ts, _, _ in events), "config": usable(config), "summary": usable(summary),
    }  # fmt: skip
    return f"p/n/runs/{run_id}", lines, facts


def usable(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in content.items()
        if isinstance(value, bool | str) or (isinstance(value, int | float) and math.isfinite(value))
    }


def annotate(key: str, run: dict[str, Any], choose: random.Random) -> bytes:
    """A line of the store stream about tags and description of a run."""
    run["tag"] = [tag for tag in TAGS if choose.random() < 0.3]
    run["description"] = choose.choice([None, "First try", "ÜBER 50%", "a\0É"])
    ids = {"run": key, "run_id": run["id"]}
    events = [("run.tagged", {"tags": run["tag"]}), ("run.described", {"description": run["description"]})]
    return b"".join(
        json.dumps({"ts": 5.0, "type": kind, "data": {**ids, **data}}).encode() + b"\n" for kind, data in events
    )


class World:
    """Some runs in a read model."""

    def __init__(self, directory: Path, seed: int) -> None:
        choose = random.Random(seed)
        self.log = FileLog(directory / "root", directory / "state")
        self.model = ReadModel(directory / "model.db", "runs", [RunList(), MetricPoints(), RunValues()])
        self.runs: dict[int, Run] = {}
        annotations: list[bytes] = []
        for number in range(60):
            key, lines, facts = make(number, choose)
            path = Path(self.log.path(Stream("run", key)))
            path.parent.mkdir(parents=True)
            path.write_bytes(lines)
            catch_up(self.log, [self.model], Stream("run", key))
            self.runs[number + 1] = facts
            annotations.append(annotate(key, facts, choose))
        store = Stream.named(".runicorn/log/00000001")
        path = Path(self.log.path(store))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(annotations))
        catch_up(self.log, [self.model], store)

    @property
    def db(self) -> apsw.Connection:
        return self.model.connection

    def found(self, query: str) -> set[int]:
        condition = compile_condition(parse(query, NOW))
        with limited(self.db):
            rows = self.db.execute(f"SELECT run FROM run_brief AS b WHERE {condition.row}", condition.parameters)
            found = [run for (run,) in rows]
            if condition.runs is not None:
                assert found == [run for (run,) in self.db.execute(condition.runs, condition.parameters)]
            return set(found)

    def meant(self, query: str) -> set[int]:
        expression = parse(query, NOW)
        return {number for number, run in self.runs.items() if holds(expression, run)}


@pytest.fixture(scope="module", params=[1, 2])
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), request.param)
    yield world
    world.model.close()


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


texts = st.sampled_from(
    [
        *PROJECTS, *NAMES, *STATUSES, "run_003", "RUN_00", "is", "", "%", "_", "ss", "First", "über", "été", "训", "GROSS",
        "gross", "ärger", "PAUSé", "güte", "A\0é",
    ]
).map(quoted)  # fmt: skip
numbers = st.sampled_from(["0", "0.5", "-1.5", "1.5", "1e300", "3", "7", "2", "60", "-2"])
durations = st.sampled_from(["1m", "1h", "3600", "1h30m", "0.5h"])
times = st.sampled_from(["2d", "1w", "3h", "1699900000", "2023-11-12", "2023-11-13", "2023-11-14T10:00:00Z"])
order = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equal = st.sampled_from(["=", "!="])


def comparing(field: st.SearchStrategy[str], operators: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> Any:
    listed = st.lists(values, min_size=1, max_size=3).map(lambda found: f"in ({', '.join(found)})")
    tail = st.one_of(st.tuples(operators, values).map(" ".join), listed, st.just("exists"))
    return st.tuples(field, tail).map(" ".join)


members = st.tuples(
    st.sampled_from(["summary.", "config."]),
    st.sampled_from(KEYS).map(lambda key: key if " " not in key else quoted(key)),
)
metrics = st.tuples(st.sampled_from(METRICS).map(quoted), st.sampled_from(["", ".last", ".min", ".max", ".count"])).map(
    lambda pair: f"metric.{''.join(pair)}"
)
TEXT_FIELDS = ["id", "project", "name", "status", "description", "best_metric_name"]
leaves = st.one_of(
    comparing(
        st.sampled_from(["id", "project", "name", "status", "best_metric_name"]),
        st.sampled_from(["=", "!=", "~"]),
        texts,
    ),
    comparing(st.sampled_from(["best_metric", "best_step", "metric_count"]), order, numbers),
    comparing(st.just("duration"), order, durations),
    comparing(st.sampled_from(["created", "updated", "started", "ended", "deleted"]), order, times),
    comparing(metrics, order, numbers),
    comparing(members.map("".join), order, numbers),
    comparing(
        members.map("".join), equal, st.one_of(texts, numbers, st.sampled_from(["adam", '"0.5"', "true", "false"]))
    ),
    st.tuples(members.map("".join), st.just("~"), texts).map(" ".join),
    comparing(st.sampled_from(["note", "tag"]), st.sampled_from(["=", "~"]), texts),
    st.tuples(st.just("description ~"), texts).map(" ".join),
)
queries = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda query: f"not ({query})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]} or not {pair[1]} and {pair[0]}"),
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(query=queries)
@example(query="not metric.loss.last < 100")
@example(query="created = 2023-11-13 or created < 2023-11-12")
@example(query='config."odd key" != 0.5')
@example(query="not config.lr exists and not config.lr = 1")
def test_sql_finds_what_is_meant(world: World, query: str) -> None:
    assert world.found(query) == world.meant(query)


@pytest.mark.parametrize(
    "query",
    [
        "status = finished", "created > 2d", "metric.loss < 2", "config.lr exists", 'summary."opt.name" ~ ada',
        "metric.a.min.count >= 1", "best_metric > 0.25 and best_step = 3", "duration >= 1h",
        "tag = base", "tag ~ BASE and not tag = base", "description ~ über",
        "note ~ été", "notes ~ ADAM and not note = adam", "tag ~ ärger", "status ~ pausé", "best_metric_name ~ güte",
    ],
)  # fmt: skip
def test_the_examples_are_not_empty(world: World, query: str) -> None:
    assert 0 < len(world.meant(query)) < len(world.runs)
