"""How far read models are behind the log."""

from __future__ import annotations

from pathlib import Path

from runicorn.events.log import FileLog, Stream
from runicorn.projection.lag import Lag, measure
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event


def stream(root: Path, name: str, events: int) -> Stream:
    make_run(root, f"p/n/runs/{name}", events=metrics_event(loss=0.5) * events)
    return Stream("run", f"p/n/runs/{name}")


def test_what_is_not_applied_is_counted(tmp_path: Path) -> None:
    one, two = stream(tmp_path, "one", 10), stream(tmp_path, "two", 5)
    line = len(metrics_event(loss=0.5))
    log = FileLog(tmp_path, tmp_path / "state")
    applied = {one: 4 * line, two: 0}
    assert measure(log, [one, two], 2, applied.__getitem__) == Lag(11 * line, 11)
    assert measure(log, [], 0, applied.__getitem__) == Lag(0, 0)
    assert measure(log, [one, two], 20, applied.__getitem__) == Lag(110 * line, 110)


def test_a_replaced_stream_is_behind_as_a_whole_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    one = stream(tmp_path, "one", 3)
    log = FileLog(tmp_path, tmp_path / "state")
    assert measure(log, [one], 1, lambda _: 1_000_000).events == 3
    assert measure(log, [Stream("run", "p/n/runs/gone")], 1, lambda _: 10) == Lag(0, 0)


def test_much_is_estimated(tmp_path: Path) -> None:
    many = stream(tmp_path, "many", 50_000)
    log = FileLog(tmp_path, tmp_path / "state")
    lag = measure(log, [many], 1, lambda _: 0)
    assert lag.bytes == 50_000 * len(metrics_event(loss=0.5))
    assert abs(lag.events - 50_000) < 500


def test_the_lag_in_seconds_counts_from_when_a_stream_was_seen_to_grow(tmp_path: Path) -> None:
    one, two = stream(tmp_path / "root", "one", 3), stream(tmp_path / "root", "two", 3)
    running = InProcess(tmp_path / "root", tmp_path / "state")
    running.work()
    assert running.projector.status("inotify").lag_s == 0.0
    for grown in (one, two):
        with open(running.log.path(grown), "a") as file:
            file.write(metrics_event(loss=0.25))
        running.projector.models.mark(grown)
    first, second = (running.projector.status("inotify") for _ in range(2))
    assert 0.0 < first.lag_s < second.lag_s
    assert (second.behind_streams, second.behind_events) == (2, 2)
    running.work()
    assert running.projector.status("inotify").lag_s == 0.0
    running.close()
