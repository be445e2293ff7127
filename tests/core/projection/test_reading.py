"""Reading while the projector writes: every answer is of one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from runicorn.columns import StoredSeries
from runicorn.errors import StorageUnavailable
from runicorn.events.log import FileLog, Stream
from runicorn.projection.catch_up import catch_up
from runicorn.projection.model import ReadModel
from runicorn.projection.reading import ModelReader
from runicorn_runs.projections.metric_points import MetricPoints
from tests.stores import make_run, metrics_event

STREAM = Stream("run", "p/n/runs/a")


def test_a_chunk_sealed_between_two_statements_of_a_query_is_not_half_seen(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    state.mkdir()
    directory = make_run(root, STREAM.name, events="".join(metrics_event(global_step=s, x=0.5) for s in range(4000)))
    log, projections = FileLog(root, state), [MetricPoints()]
    model = ReadModel.open_newest(state, "runs", projections)
    while catch_up(log, [model], STREAM).more:
        pass
    model.mark_ready()

    def cells(db: apsw.Connection) -> list[int]:
        list(db.execute("SELECT * FROM metric_column"))  # the snapshot begins, then the projector commits
        with open(directory / "events.jsonl", "a") as file:
            file.writelines(metrics_event(global_step=s, x=0.5) for s in range(4000, 4200))
        while catch_up(log, [model], STREAM).more:
            pass
        return [len(frame.columns["x"]) for frame in StoredSeries(db, 1).frames()]

    reader = ModelReader(state, "runs", projections)
    assert sum(reader.query(cells)) == 4000
    assert sum(asyncio.run(reader.run(cells))) == 4200  # the same rows once more: with both appends of this test, 4400
    assert sum(reader.query(lambda db: [len(frame.columns["x"]) for frame in StoredSeries(db, 1).frames()])) == 4400
    reader.reopen()
    model.close()


def test_an_error_in_a_query_leaves_the_connection_usable(tmp_path: Path) -> None:
    model = ReadModel.open_newest(tmp_path, "runs", [MetricPoints()])
    model.mark_ready()
    reader = ModelReader(tmp_path, "runs", [MetricPoints()])

    def broken(db: apsw.Connection) -> None:
        raise KeyError("a bug of the caller")

    for _ in range(2):
        try:
            reader.query(broken)
        except KeyError:
            assert reader.counter("runs")[1] == 0
        else:
            raise AssertionError("the caller's exception is not hidden")
    reader.reopen()
    model.close()


def test_a_query_on_an_event_loop_never_waits_for_a_lock_and_a_thread_does(tmp_path: Path) -> None:
    model = ReadModel.open_newest(tmp_path, "runs", [MetricPoints()])
    model.mark_ready()
    path = model.path
    model.close()
    # As SQLite holds a file while it repairs its WAL, or while its last writer closes it.
    holder = apsw.Connection(str(path))
    holder.execute("PRAGMA locking_mode=exclusive").fetchall()
    holder.execute("BEGIN IMMEDIATE; UPDATE meta SET value = value; COMMIT").fetchall()
    reader = ModelReader(tmp_path, "runs", [MetricPoints()])
    with pytest.raises(StorageUnavailable):
        asyncio.run(_query(reader, _ready))
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(reader.read, _ready)
        holder.close()
        assert found.result() == 1
    assert asyncio.run(_query(reader, _ready)) == 1
    assert asyncio.run(_query(reader, _busy_timeout)) == 0
    assert reader.read(_busy_timeout) == 1000
    reader.reopen()
    assert reader.query(_busy_timeout) == 1000  # the command line has nobody else to answer
    reader.reopen()


async def _query(reader: ModelReader, function: Callable[[apsw.Connection], object]) -> object:
    return reader.query(function)


def _ready(db: apsw.Connection) -> object:
    return db.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()[0][0]


def _busy_timeout(db: apsw.Connection) -> int:
    value = db.pragma("busy_timeout")
    assert isinstance(value, int)
    return value
