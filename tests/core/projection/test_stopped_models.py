"""A read model that has stopped, or was replaced, is used by nobody any more: not by a sweep, not by a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from runicorn.events.append import StreamWriter
from runicorn.events.discovery import RunDirectory
from runicorn.events.envelope import Payload, encode_event
from runicorn.events.log import FileLog, StreamKind
from runicorn.events.store import StoreStream
from runicorn.patience import Patience
from runicorn.projection.base import Batch, Tables
from runicorn.projection.model import ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.projector import Projector
from runicorn.projection.source import Source
from tests.stores import make_run


class Counting:
    """Counts events; `trouble` is called with every batch."""

    version = 1
    streams = frozenset[StreamKind]({"run"})

    def __init__(self, name: str, trouble: Callable[[Batch, Tables], object] = lambda batch, tables: None) -> None:
        self.name = name
        self.schema = "CREATE TABLE seen(stream_id INTEGER, offset INTEGER)"
        self._trouble = trouble

    def apply(self, batch: Batch, tables: Tables) -> None:
        tables.executemany("INSERT INTO seen VALUES (?, ?)", [(batch.stream_id, offset) for offset in batch.offsets])
        self._trouble(batch, tables)

    def forget(self, stream_id: int, tables: Tables) -> None:
        tables.execute("DELETE FROM seen WHERE stream_id = ?", (stream_id,))


class Moody:
    """A source; `trouble` is called whenever it is asked."""

    name = "moody"
    files = frozenset({"moody.txt"})

    def __init__(self, trouble: Callable[[apsw.Connection], Sequence[tuple[float, Payload]]]) -> None:
        self._trouble = trouble
        self.asked = 0

    def observe(self, root: Path, run: RunDirectory, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        self.asked += 1
        return self._trouble(model)


class Bench:
    """A projector over one run and the plugins `first` and `second`, each with one counting projection."""

    def __init__(self, directory: Path, second: Counting, source: Source | None = None) -> None:
        self.root, self.state = directory / "root", directory / "state"
        self.state.mkdir()
        self.run = make_run(self.root, "p/n/runs/one", events=lines(3))
        self.log = FileLog(self.root, self.state)
        patience = Patience(0.5)
        self.first = ReadModel.open_newest(self.state, "first", [Counting("first")], patience=patience)
        self.second = ReadModel.open_newest(self.state, "second", [second], patience=patience)
        sources = [] if source is None else [(self.second, source)]
        observer = Observer(self.root, self.state, StoreStream(self.log), sources)
        self.projector = Projector(self.log, [self.first, self.second], observer)
        self.projector.start()
        self.work()

    def work(self) -> None:
        models = self.projector.models
        for _ in range(1000):
            self.projector.work()
            if not (models.dirty or models.is_building or models.is_handing_over or self.projector.is_observing):
                return
            models.last_commit = 0.0
        raise AssertionError("it does not come to rest")

    def append(self, count: int) -> None:
        """Nobody is told: the sweep will find it."""
        StreamWriter(self.run / "events.jsonl").append(lines(count, first=100))

    def append_and_work(self, count: int) -> None:
        self.append(count)
        self.projector.changed({str(self.run / "events.jsonl")})
        self.work()

    def seen(self, model: ReadModel) -> object:
        return model.connection.execute("SELECT count(*) FROM seen").fetchall()[0][0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(second: Counting, source: Source | None = None) -> Bench:
        made.append(Bench(tmp_path, second, source))
        return made[-1]

    yield make
    for one in made:
        one.projector.close()


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(encode_event(1.0 + n, "metrics", {"global_step": n}) for n in range(first, first + count))


def fails_later(batch: Batch, tables: Tables) -> None:
    assert batch.start == 0, "enough"


def test_a_sweep_that_was_interrupted_goes_on_after_a_read_model_has_stopped(bench: Callable[..., Bench]) -> None:
    here = bench(Counting("second", fails_later))
    here.append(5)
    models = here.projector.models
    sweep = here.projector.look_at_everything()
    while not models.dirty:  # the sweep has found the change, and the second read model is still to be looked at
        next(sweep)
    here.work()
    assert models.failed == {"second": "AssertionError: enough"}
    for _ in sweep:
        pass
    assert here.seen(here.first) == 8


def test_a_sweep_that_was_interrupted_goes_on_after_a_read_model_was_replaced(bench: Callable[..., Bench]) -> None:
    here = bench(Counting("second"))
    here.append(5)
    sweep = here.projector.look_at_everything()
    while not here.projector.models.dirty:
        next(sweep)
    second = ReadModel(here.state / "second-0123456789ab-000009.db", "second", [Counting("second")])
    here.projector.succeed([second])
    here.work()
    assert here.second.is_closed
    for _ in sweep:
        pass
    assert here.seen(second) == here.seen(here.first) == 8


def test_a_source_is_not_asked_once_its_read_model_has_stopped(bench: Callable[..., Bench]) -> None:
    source = Moody(lambda model: model.execute("SELECT 1").fetchall() and [])
    here = bench(Counting("second", fails_later), source)
    here.append_and_work(5)
    asked = source.asked
    (here.run / "moody.txt").write_text("changed")
    here.projector.look_at("p/n/runs/one")
    assert source.asked == asked
    assert here.projector.status("inotify").failed == {"second": "AssertionError: enough"}


def close(batch: Batch, tables: Tables) -> None:
    tables.connection.close()


def leave_transaction(batch: Batch, tables: Tables) -> None:
    tables.execute("COMMIT")


def exit_process(batch: Batch, tables: Tables) -> None:
    raise SystemExit(3)


def hang(batch: Batch, tables: Tables) -> None:
    while True:
        pass


def run_out_of_memory(batch: Batch, tables: Tables) -> None:
    raise MemoryError("too much")


@pytest.mark.parametrize("trouble", [close, leave_transaction, exit_process, hang, run_out_of_memory])
def test_whatever_a_projection_does_stops_its_own_read_model_only(
    bench: Callable[..., Bench], trouble: Callable[[Batch, Tables], None]
) -> None:
    here = bench(Counting("second", lambda batch, tables: batch.start and trouble(batch, tables)))
    here.append_and_work(5)
    assert list(here.projector.models.failed) == ["second"]
    assert here.seen(here.first) == 8
    here.append_and_work(2)
    assert here.seen(here.first) == 10


def test_what_a_projection_does_before_the_commit_stops_its_own_read_model_only(bench: Callable[..., Bench]) -> None:
    class Late(Counting):
        commits = 0

        def before_commit(self, tables: Tables) -> None:
            self.commits += 1
            assert self.commits < 3, "enough"

    here = bench(Late("second"))
    for _ in range(3):
        here.append_and_work(1)
    assert here.projector.models.failed == {"second": "AssertionError: enough"}
    assert here.seen(here.first) == 6


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda model: 5, "not iterable"),
        (lambda model: [b"run.finished"], "said bytes, not a pair of time and payload"),
        (lambda model: [("now", object())], "said str for a time"),
        (lambda model: [(1.0, {"event_type": "x.y"})], "said dict for a payload"),
        (lambda model: exit(4), "SystemExit: 4"),
    ],
)
def test_a_source_that_says_what_is_no_event_is_asked_no_more(
    bench: Callable[..., Bench],
    said: Callable[[apsw.Connection], Sequence[tuple[float, Payload]]],
    reason: str,
) -> None:
    here = bench(Counting("second"), Moody(said))
    assert reason in here.projector.status("inotify").failed["second"]
    assert list(here.log.store_streams()) == []
    here.append_and_work(5)
    assert here.seen(here.first) == here.seen(here.second) == 8


def test_a_source_that_closes_its_connection_closes_nobody_elses(bench: Callable[..., Bench]) -> None:
    source = Moody(lambda model: model.close() or [])
    here = bench(Counting("second"), source)
    asked = source.asked
    (here.run / "moody.txt").write_text("changed")
    here.projector.look_at("p/n/runs/one")
    here.append_and_work(5)
    assert source.asked > asked
    assert here.seen(here.second) == 8
    assert here.projector.status("inotify").failed == {}
