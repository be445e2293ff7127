"""A worker that waits for a stream gets it from the files that serve, whatever else is being built."""

from __future__ import annotations

from pathlib import Path

from runicorn.events.log import Stream
from runicorn.projection.generations import next_path
from runicorn.projection.model import ReadModel
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event

RUN = Stream("run", "p/n/runs/a")


def test_a_successor_that_lags_does_not_make_a_request_wait_or_lie(tmp_path: Path) -> None:
    line = metrics_event(global_step=1, padding="x" * 200)
    directory = make_run(tmp_path / "root", RUN.name, events=line * 5000)
    running = InProcess(tmp_path / "root", tmp_path / "state")
    running.work()
    serving = running.models["runs"]
    successor = ReadModel(
        next_path(tmp_path / "state", "runs", running.projections["runs"]), "runs", serving.projections
    )
    running.projector.succeed([successor])

    with open(directory / "events.jsonl", "a") as file:
        file.write(line)
    running.projector.apply_now(RUN)

    position = running.log.position(RUN)
    known = serving.checkpoint(RUN)
    assert position is not None
    assert known is not None
    assert known.is_at(position)
    assert successor.checkpoint(RUN) is None  # a megabyte behind: it has its turn later
    running.work()
    after = successor.checkpoint(RUN)
    assert after is not None
    assert after.is_at(position)
    running.projector.close()
