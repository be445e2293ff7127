"""Indexes that only readers need are made at the end of a rebuild, and are all there then."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from runicorn.events.envelope import encode_event
from runicorn.host import PluginHost, Selection
from runicorn.projection.generations import fingerprint, newest
from runicorn.projection.model import ReadModel
from runicorn.projection.rebuild import rebuild
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_list import RunList


def schema_of(path: Path) -> dict[str, str | None]:
    connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return dict(connection.execute("SELECT name, sql FROM sqlite_schema"))  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
    finally:
        connection.close()


def test_a_rebuilt_file_has_the_tables_and_indexes_of_one_that_grew(tmp_path: Path) -> None:
    run = tmp_path / "root" / "vision" / "resnet" / "runs" / "one"
    run.mkdir(parents=True)
    created = {"run_id": "one", "project": "vision", "name": "resnet", "created_at": 1.0}
    (run / "events.jsonl").write_bytes(encode_event(1.0, "run.created", created))
    host = PluginHost.load(Selection(frozenset({"runs"})))
    rebuild(tmp_path / "root", tmp_path / "state", host)

    [(_, projections)] = host.collect("projections")
    rebuilt = newest(tmp_path / "state", "runs", fingerprint(projections))
    assert rebuilt is not None
    grown = ReadModel(tmp_path / "grown.db", "runs", projections)
    grown.close()
    assert schema_of(rebuilt) == schema_of(tmp_path / "grown.db")


def test_the_indexes_of_a_scratch_file_come_when_it_is_ready(tmp_path: Path) -> None:
    model = ReadModel(tmp_path / "scratch.db", "runs", [RunList(), MetricPoints()], is_scratch=True)
    assert RunList.reading_indexes.isdisjoint(schema_of(model.path))
    model.mark_ready()
    assert schema_of(model.path).keys() >= RunList.reading_indexes
    model.close()
