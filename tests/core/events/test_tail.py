"""The last events of many streams."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from runicorn.events import tail
from runicorn.events.log import READ_BYTES, FileLog, LocatedEvent, Stream
from tests.stores import make_run, metrics_event


def event(ts: float, kind: str = "metrics", **data: object) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def last(root: Path, count: int, kind: str | None = None) -> list[LocatedEvent]:
    log = FileLog(root, root / "state")
    ends = tail.ends_of(log, log.streams())
    return tail.last_events(log, ends, count, lambda one: kind is None or one.event.type == kind)


class CountingLog(FileLog):
    """Counts the bytes that are read."""

    bytes = 0

    def read_range(self, stream: Stream, start: int, end: int, *, at_once: int = READ_BYTES) -> Iterator[LocatedEvent]:
        self.bytes += end - start
        return super().read_range(stream, start, end, at_once=at_once)


def test_a_rare_event_is_found_behind_many_others_in_little_memory(tmp_path: Path) -> None:
    before, after = (metrics_event(ts, global_step=1, loss=0.5) * 20_000 for ts in (1.5, 2.5))
    make_run(tmp_path, "p/n/runs/a", events=event(1.0, "run.created") + before)
    make_run(tmp_path, "p/n/runs/b", events=before + event(2.0, "run.created") + after)
    tracemalloc.start()
    found = last(tmp_path, 3, "run.created")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one.event.ts for one in found] == [1.0, 2.0]
    assert peak < 3 << 20, "the streams have 4 MB, and their events are several times more"
    assert last(tmp_path, 3, "run.finished") == []


def test_streams_are_read_no_further_back_than_needed(tmp_path: Path) -> None:
    for run in range(3):
        make_run(tmp_path, f"p/n/runs/{run}", events="".join(event(step + run / 10) for step in range(20_000)))
    log = CountingLog(tmp_path, tmp_path / "state")
    found = tail.last_events(log, tail.ends_of(log, log.streams()), 5)
    assert [one.event.ts for one in found] == [19_998.1, 19_998.2, 19_999.0, 19_999.1, 19_999.2]
    assert log.bytes < 500_000, "the streams have 2.7 MB"


def test_what_carries_a_time_of_long_ago_holds_nothing_newer_back(tmp_path: Path) -> None:
    make_run(tmp_path, "p/n/runs/a", events=event(90.0, n=1) + event(5.0, n=2) * 3 + event(91.0, n=3) + event(5.0, n=4))
    make_run(tmp_path, "p/n/runs/b", events=event(10.0, n=5) * 10)
    found = last(tmp_path, 6)
    assert [one.event.ts for one in found] == [90.0, 5.0, 5.0, 5.0, 91.0, 5.0]


def test_lines_longer_than_a_stretch_are_events_like_others(tmp_path: Path) -> None:
    long = "x" * (300 << 10)
    make_run(tmp_path, "p/n/runs/a", events=event(1.0) + event(2.0, text=long) + event(3.0) + event(4.0, text=long))
    assert [one.event.ts for one in last(tmp_path, 10)] == [1.0, 2.0, 3.0, 4.0]
    assert [one.event.ts for one in last(tmp_path, 2)] == [3.0, 4.0]


Times = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 300)), max_size=60)


@given(streams=st.lists(Times, min_size=1, max_size=4), count=st.integers(0, 30))
def test_they_are_those_of_a_reader_of_everything(streams: list[list[tuple[str, int]]], count: int) -> None:
    with TemporaryDirectory() as directory:
        for number, times in enumerate(streams):
            lines = (event(ts, kind, n=place) for place, (kind, ts) in enumerate(times))
            make_run(Path(directory), f"p/n/runs/{number}", events="".join(lines))
        found = [(one.event.ts, one.offset) for one in last(Path(directory), count, "a")]
        everything = last(Path(directory), 1000)
        assert len(everything) == sum(map(len, streams))
        chosen = [(one.event.ts, one.offset) for one in everything if one.event.type == "a"]
        assert found == chosen[len(chosen) - min(count, len(chosen)) :]
        for number, times in enumerate(streams):
            shown = [one.event.ts for one in everything if one.stream.name == f"p/n/runs/{number}"]
            assert shown == [ts for _, ts in times]
        if all(times == sorted(times, key=lambda pair: pair[1]) for times in streams):
            assert [one.event.ts for one in everything] == sorted(ts for times in streams for _, ts in times)


def test_an_event_behind_a_damaged_line_that_is_longer_than_what_is_read_at_once_is_found_once(tmp_path: Path) -> None:
    make_run(tmp_path, "p/n/runs/a", events=event(1.0) + "x" * 2 * READ_BYTES + "\n" + event(2.0))
    assert [one.event.ts for one in last(tmp_path, 3)] == [1.0, 2.0]


def test_pipes_in_the_place_of_streams_are_not_waited_for(tmp_path: Path) -> None:
    make_run(tmp_path, "p/n/runs/a", events=event(1.0))
    os.mkfifo(make_run(tmp_path, "p/n/runs/b") / "events.jsonl")
    (tmp_path / ".runicorn/log").mkdir(parents=True)
    os.mkfifo(tmp_path / ".runicorn/log/00000001.jsonl")
    assert [one.event.ts for one in last(tmp_path, 3)] == [1.0]
    log = FileLog(tmp_path, tmp_path / "state")
    ends = tail.ends_of(log, log.streams())
    assert [one.event.ts for one in tail.events_since(log, ends, 0.0)] == [1.0]
