"""What is answered as of a moment equals what a store answers that holds only the events up to then."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.events.envelope import decode_event
from runicorn.events.log import FileLog, Stream
from runicorn.events.past import PastLog
from runicorn.projection.base import Projection
from runicorn.projection.rebuild import build_aside
from runicorn_artifacts.projections.artifact_versions import ArtifactVersions
from runicorn_artifacts.projections.run_artifacts import RunArtifacts
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_images import RunImages
from runicorn_runs.projections.run_list import RunList
from runicorn_runs.projections.run_values import RunValues
from tests.properties import test_artifact_convergence as of_artifacts
from tests.properties import test_convergence as of_runs

moments = st.sampled_from([-1.0, 0.5, 0.75, 1.0, 2.0, 2.5, 3.0, 9.0])
BOOKKEEPING = {"meta", "stream"}
"""Tables that tell of files: where they are read up to, which says nothing about runs."""


def until(content: bytes, moment: float) -> bytes:
    """The lines of a stream that are events up to a moment."""
    kept: list[bytes] = []
    last = -math.inf
    for line in content.splitlines(keepends=True):
        try:
            event = decode_event(line.rstrip(b"\n"))
        except ValueError:
            continue
        if event is None:
            continue
        last = last if math.isnan(event.ts) else event.ts
        if last <= moment:
            kept.append(line)
    return b"".join(kept)


def write(root: Path, names: Sequence[str], world: Sequence[bytes]) -> FileLog:
    log = FileLog(root, root / "state")
    for name, content in zip(names, world, strict=True):
        if content:
            path = Path(log.path(Stream.named(name)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return log


def rows(log: FileLog, projections: list[Projection]) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but for row ids: those follow the order in which streams are found."""
    path = log.root / "model.db"
    build_aside(log, {"x": path}, {"x": projections}, processes=0)
    db = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = [
        str(name)
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    ]
    found = {}
    for table in sorted({*tables} - BOOKKEEPING):
        columns = [str(column[1]) for column in db.execute(f"PRAGMA table_info({table})")]
        shown = [f'"{name}"' for name in columns if name not in ("offset", "start", "end")]
        found[table] = sorted(db.execute(f"SELECT {', '.join(shown)} FROM {table}"), key=repr)
    db.close()
    return found


def compare(names: Sequence[str], world: Sequence[bytes], moment: float, projections: list[Projection]) -> None:
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
        write(Path(whole), names, world)
        past = PastLog(Path(whole), Path(whole) / "state", moment)
        only = write(Path(cut), names, [until(content, moment) for content in world])
        assert rows(past, projections) == rows(only, projections)


@settings(max_examples=60)
@given(of_runs.worlds, moments)
def test_runs_as_of_a_moment_are_those_of_the_events_up_to_it(world: list[bytes], moment: float) -> None:
    compare(of_runs.STREAMS, world, moment, [RunList(), MetricPoints(), RunImages(), RunValues()])


@settings(max_examples=40)
@given(of_artifacts.worlds, moments)
def test_artifacts_as_of_a_moment_are_those_of_the_events_up_to_it(world: list[bytes], moment: float) -> None:
    compare(of_artifacts.STREAMS, world, moment, [ArtifactVersions(), RunArtifacts()])


@settings(max_examples=60)
@given(of_runs.worlds, moments, st.integers(1, 300))
def test_pieces_of_any_size_hold_the_same_events(world: list[bytes], moment: float, size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = write(Path(directory), of_runs.STREAMS, world)
        for name, content in zip(of_runs.STREAMS, world, strict=True):
            if not content:
                continue
            past = PastLog(log.root, log.state_dir, moment)
            events, after = [], 0
            while (lines := past.read(Stream.named(name), after=after, limit=size)).end > after:
                events += [bytes(event.data) for event in lines.events]
                assert len(lines.offsets) == len(lines.events)
                after = lines.end
            kept = [decode_event(line.rstrip(b"\n")) for line in until(content, moment).splitlines(keepends=True)]
            assert events == [bytes(event.data) for event in kept if event is not None]


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_reader_that_begins_in_the_middle_knows_the_time_of_events_without_one(tmp_path: Path, start: int) -> None:
    lines = [b'{"ts":1,"type":"a"}\n', b'{"type":"b"}\n', b'{"ts":5,"type":"c"}\n', b'{"type":"d"}\n']
    write(tmp_path, ["runs/r"], [b"".join(lines)])
    past = PastLog(tmp_path, tmp_path / "state", 2.0)
    found = past.read(Stream.named("runs/r"), after=sum(map(len, lines[:start])))
    assert [event.type for event in found.events] == ["a", "b"][start:]
