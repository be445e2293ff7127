"""However streams are cut, interleaved, forgotten and read again: the read model is a function of what they hold.

Compared with an independent model after every step, not only at the end, and not only with a replay.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.events.log import FileLog, Stream
from runicorn.projection.catch_up import catch_up
from runicorn.projection.comparing import compare_table
from runicorn.projection.meaning import STREAMS as CHECKPOINTS
from runicorn.projection.meaning import meanings_of
from runicorn.projection.model import ReadModel
from runicorn.projection.rebuild import build_aside
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_list import RunList
from runicorn_runs.projections.run_values import RunValues
from tests.run_rows import actual_rows, expected_rows
from tests.run_values import actual_values, expected_values

KEYS = ["p/n/runs/a", "p/ü/runs/b", "runs/c"]
STREAMS = [*KEYS, ".runicorn/log/00000001", ".runicorn/log/00000002"]

times = st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, math.nan])
numbers = st.sampled_from([None, 0.0, 1.5, 7, True, "x", math.nan, math.inf])
words = st.sampled_from([None, "", "one", "Ä", 5, ["x"]])
summaries = st.dictionaries(
    st.sampled_from(["acc", "best_metric_value", "best_metric_name"]), st.integers(0, 3), max_size=2
)


def line(ts: float, kind: str, data: Any) -> bytes:
    return json.dumps({"ts": ts, "type": kind, "data": data}).encode() + b"\n"


created = st.builds(
    lambda ts, project, at, pid: line(
        ts, "run.created", {"run_id": "a", "project": project, "name": "n", "created_at": at, "pid": pid}
    ),
    times, st.sampled_from(["p", "Q", ""]), st.sampled_from([0.5, 2, math.inf]), st.sampled_from([None, 7]),
)  # fmt: skip
finished = st.builds(
    lambda ts, status, at: line(ts, "run.finished", {"status": status, "ended_at": at}),
    times, st.sampled_from(["finished", "failed", ""]), st.sampled_from([1.0, 2.5, math.nan]),
)  # fmt: skip
summarized = st.builds(lambda ts, update: line(ts, "run.summarized", {"update": update}), times, summaries)
configured = st.builds(lambda ts, config: line(ts, "run.configured", {"config": config}), times, summaries)
metrics = st.builds(
    lambda ts, step, loss: line(ts, "metrics", {"loss": loss, "global_step": step}), times, st.integers(-2, 9), numbers
)
junk = st.sampled_from(
    [
        b"\n",
        b"garbage\n",
        b'{"ts": 1}{"ts": 2}\n',
        b'{"ts": 9, "type": "run.finished", "data": {"status": 5}}\n',
        b'{"ts": 9, "type": "run.created", "data": null}\n',
        b'{"type": "unknown.happened", "data": [1]}\n',
        b'\xef\xbb\xbf{"ts": 2.5, "type": "metrics", "data": {"loss": 1, "global_step": 1}}\r\n',
    ]
)
run_lines = st.lists(st.one_of(created, finished, summarized, configured, metrics, junk), max_size=8)

contents = {
    "": st.fixed_dictionaries({"mtime": numbers}),
    "meta.json": st.fixed_dictionaries(
        {}, optional={"project": words, "name": words, "created_at": numbers, "pid": numbers}
    ),
    "status.json": st.fixed_dictionaries({}, optional={"status": words, "started_at": numbers, "ended_at": numbers}),
    "summary.json": summaries,
    ".deleted": st.fixed_dictionaries({}, optional={"deleted_at": numbers, "reason": words}),
    ".experiments_metadata.json": st.fixed_dictionaries(
        {},
        optional={
            "tags": st.one_of(st.lists(words, max_size=3), words),
            "description": words,
            "pinned": numbers,
            "archived": st.booleans(),
            "updated_at": numbers,
            "project": words,
        },
    ),
    "artifacts_used.json": st.fixed_dictionaries(
        {"artifacts": st.lists(st.just({"name": "m", "type": "model", "version": 1}), max_size=2)}
    ),
}
observed = st.sampled_from(sorted(contents)).flatmap(
    lambda file: st.builds(
        lambda ts, key, content: line(
            ts,
            "run.observed",
            {"run": key, "run_id": "a", "file": file, "content": content, "observed_at": 1.0},
        ),
        times, st.sampled_from(KEYS), st.one_of(st.none(), contents[file]),
    )
)  # fmt: skip
vanished = st.builds(
    lambda ts, key: line(ts, "run.vanished", {"run": key, "run_id": "a", "observed_at": 1.0}),
    times,
    st.sampled_from(KEYS),
)
lost = st.builds(
    lambda ts, key: line(ts, "run.lost", {"run": key, "run_id": "a", "ended_at": 2.0}), times, st.sampled_from(KEYS)
)
decisions = st.one_of(
    st.builds(
        lambda at, reason: ("run.deleted", {"deleted_at": at, "reason": reason, "original_status": "running"}),
        st.sampled_from([1.0, 2.5, math.nan]),
        st.sampled_from(["user_deleted", "cleanup"]),
    ),
    st.sampled_from([("run.restored", {}), ("run.purged", {})]),
    st.builds(lambda tags: ("run.tagged", {"tags": tags}), st.lists(st.sampled_from(["a", "b", "ü"]), max_size=3)),
    st.builds(lambda text: ("run.described", {"description": text}), st.sampled_from([None, "", "long"])),
    st.builds(lambda flag: ("run.archived", {"archived": flag}), st.booleans()),
    st.builds(lambda flag: ("run.pinned", {"pinned": flag}), st.booleans()),
)
decided = st.builds(
    lambda ts, key, decision: line(ts, decision[0], {"run": key, "run_id": "a", **decision[1]}),
    times, st.sampled_from(KEYS), decisions,
)  # fmt: skip
store_lines = st.lists(st.one_of(observed, observed, decided, decided, vanished, lost, junk), max_size=8)

worlds = st.tuples(run_lines, run_lines, run_lines, store_lines, store_lines).map(
    lambda streams: [b"".join(lines) for lines in streams]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.sampled_from(STREAMS), st.integers(1, 400), st.integers(1, 300)),
        st.tuples(st.just("restart"), st.just(""), st.just(0), st.just(0)),
        st.tuples(
            st.sampled_from(["remove", "begin again"]), st.sampled_from(STREAMS), st.just(0), st.integers(1, 300)
        ),
    ),
    max_size=25,
)


class Store:
    """Streams that grow byte by byte, and a read model that follows."""

    def __init__(self, directory: Path, whole: list[bytes]) -> None:
        self.log = FileLog(directory / "root", directory / "state")
        self.whole = dict(zip(STREAMS, whole, strict=True))
        self.shown = dict.fromkeys(STREAMS, 0)
        self.path = directory / "model.db"
        self.model = self.open()

    def open(self) -> ReadModel:
        return ReadModel(self.path, "runs", [RunList(), MetricPoints(), RunValues()])

    def restart(self) -> None:
        self.model.close()
        self.model = self.open()

    def show(self, name: str, more: int) -> None:
        """Append the next bytes to a stream's file."""
        path = Path(self.log.path(Stream.named(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self.shown[name]
        self.shown[name] = min(before + more, len(self.whole[name]))
        with path.open("ab") as file:
            file.write(self.whole[name][before : self.shown[name]])

    def remove(self, name: str) -> None:
        Path(self.log.path(Stream.named(name))).unlink(missing_ok=True)
        self.shown[name] = 0

    def follow(self, name: str, limit: int, rounds: int) -> None:
        for _ in range(rounds):
            if not catch_up(self.log, [self.model], Stream.named(name), limit=limit).more:
                return

    def step(self, action: str, name: str, more: int, limit: int, rounds: int) -> None:
        """One of `steps`."""
        if action == "restart":
            self.restart()
        elif action == "grow":
            self.show(name, more)
            self.follow(name, limit, rounds)
        else:
            self.remove(name)
            if action == "remove":
                self.follow(name, limit, 1)
                assert self.model.checkpoint(Stream.named(name)) is None

    def check(self) -> None:
        """The rows are what the streams say up to the checkpoints; and those are true."""
        ends = {}
        for name in [name for name, _ in self.model.checkpoints()]:
            checkpoint = self.model.checkpoint(Stream.named(name))
            assert checkpoint is not None
            ends[name] = checkpoint.offset
            assert self.whole[name][: checkpoint.offset].endswith(b"\n") or checkpoint.offset == 0
        assert actual_rows(self.model.connection) == expected_rows(self.log.root, ends)
        assert actual_values(self.model.connection) == expected_values(self.model.connection)

    def check_known(self) -> None:
        """Like `check`, unless a stream began again and was not looked at since: its rows are of what was there before."""
        for name in [name for name, _ in self.model.checkpoints()]:
            known = self.model.checkpoint(Stream.named(name))
            assert known is not None
            position = self.log.position(Stream.named(name))
            if position is None or (known.offset and (position.inode != known.inode or position.size < known.offset)):
                return
        self.check()

    def finish(self) -> None:
        for name in STREAMS:
            self.show(name, len(self.whole[name]))
            self.follow(name, 1 << 20, 10)
            complete = self.whole[name].rfind(b"\n") + 1
            checkpoint = self.model.checkpoint(Stream.named(name))
            assert checkpoint is not None
            assert checkpoint.offset == complete
        self.check()


@settings(max_examples=120)
@given(worlds, steps, st.integers(1, 4))
def test_any_cut_and_any_interleaving_ends_in_the_rows_of_a_simple_model(whole, steps, rounds):
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), whole)
        for action, name, more, limit in steps:
            store.step(action, name, more, limit, rounds)
            if action != "begin again":
                store.check_known()
        store.finish()
        store.model.close()


@settings(max_examples=40)
@given(worlds, st.lists(st.sampled_from(STREAMS), max_size=30), st.data())
def test_cutting_at_every_byte_changes_nothing(whole, order, data):
    """Streams grow a few bytes at a time; both ways end in the same rows, metric points included."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        piecemeal, at_once = Store(Path(directory), whole), Store(Path(other), whole)
        for name in order:
            piecemeal.show(name, data.draw(st.integers(1, 60)))
            piecemeal.follow(name, data.draw(st.integers(1, 80)), 1)
        piecemeal.finish()
        at_once.finish()
        assert points(piecemeal) == points(at_once)
        piecemeal.model.close()
        at_once.model.close()


@settings(max_examples=60)
@given(worlds, steps, st.integers(1, 4))
def test_any_cut_and_any_interleaving_says_what_a_replay_says(whole, steps, rounds):
    """Every table, by meaning: this is what `events verify` compares."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), whole)
        for action, name, more, limit in steps:
            store.step(action, name, more, limit, rounds)
        store.finish()
        path = Path(directory) / "replayed.db"
        build_aside(store.log, {"runs": path}, {"runs": store.model.projections}, processes=0)
        replayed = apsw.Connection(str(path))
        for table, meaning in {**meanings_of(replayed, store.model.projections), "stream": CHECKPOINTS}.items():
            assert list(compare_table(table, meaning, store.model.connection, replayed)) == []
        replayed.close()
        store.model.close()


def points(store: Store) -> dict[str, int]:
    """Applied bytes and bad lines per stream."""
    rows = store.model.connection.execute("SELECT name, offset, bad FROM stream")
    return {str(name): (offset, bad) for name, offset, bad in rows}  # type: ignore[misc]  # as many as the query gives


hostile = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(),
        st.text(st.characters(codec=None, categories=None), max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["run", "run_id", "status", "x", "\ud800"]), inner, max_size=4),
    ),
    max_leaves=6,
)  # fmt: skip
FIELDS = {
    "run.created": ["run_id", "project", "name", "created_at", "pid", "hostname", "python"],
    "run.finished": ["status", "ended_at", "exit_reason"],
    "run.summarized": ["update"],
    "run.observed": ["run", "run_id", "file", "content", "observed_at"],
    "run.vanished": ["run", "run_id", "observed_at"],
    "run.lost": ["run", "run_id", "ended_at", "status"],
    "run.deleted": ["run", "run_id", "deleted_at", "reason", "original_status"],
    "run.tagged": ["run", "run_id", "tags"],
    "run.described": ["run", "run_id", "description"],
    "run.configured": ["config"],
    "metrics": ["loss", "global_step", "time", "stage"],
}
usual = st.sampled_from(
    [
        "a",
        "p/n/runs/a",
        "../../x/runs/y",
        1.0,
        0,
        {"created_at": 1e400, "best_metric_value": "1_0", "best_metric_step": 1e300},
        *("meta.json", "status.json", "summary.json", ".deleted", ".experiments_metadata.json", ""),
        ["a", "\ud800", "a"],
    ]
)


@st.composite
def hostile_lines(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(FIELDS)))
    data = {
        name: draw(st.one_of(usual, hostile)) for name in FIELDS[kind] if draw(st.booleans()) or draw(st.booleans())
    }
    return json.dumps({"ts": draw(times), "type": kind, "data": data}).encode() + b"\n"


@pytest.mark.slow(6)
@settings(max_examples=200)
@given(st.lists(hostile_lines(), max_size=10))
def test_no_payload_stops_the_built_in_read_models(lines):
    """A projection that raises stops its plugin: nothing that a file holds may make it."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), [b"".join(lines)] * 5)
        for name in STREAMS:
            store.show(name, 1 << 30)
            store.follow(name, 1 << 20, 10)
        store.model.close()
