"""What a start with a reacting plugin costs: what is new, however many streams there are. Counted, not timed."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from runicorn.events.append import StreamWriter
from runicorn.events.envelope import Lines
from runicorn.events.log import FileLog, LocatedEvent, Position, Stream
from runicorn.host import Plugin, PluginHost
from runicorn.plugin import hookimpl
from runicorn.projection.reactions import Reactions
from runicorn.testing.waiting import wait_until
from tests.core.projection.test_projector_process import created, lines
from tests.projecting import InProcess
from tests.stores import make_run

FEW, MANY = 30, 1300  # more than are looked at at once


class Listener:
    """A plugin that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.fails = False

    @hookimpl
    def runicorn_on_events(self, events: Sequence[LocatedEvent]) -> None:
        if self.fails:
            raise OSError("no network")
        self.heard += [(one.stream.name, one.offset) for one in events if one.event.type == "metrics"]


class CountingLog(FileLog):
    """A log that counts how often its streams are looked at."""

    def __init__(self, root: Path, state: Path) -> None:
        super().__init__(root, state)
        self.looks: Counter[str] = Counter()

    def read(self, stream: Stream, **arguments: Any) -> Lines:
        self.looks["read"] += 1
        return super().read(stream, **arguments)

    def position(self, stream: Stream) -> Position | None:
        self.looks["position"] += 1
        return super().position(stream)

    def complete_end(self, stream: Stream) -> int:
        self.looks["complete_end"] += 1
        return super().complete_end(stream)

    def streams(self) -> Any:
        self.looks["streams"] += 1
        return super().streams()


class Place:
    """A root with runs, its state directory, and a listener."""

    def __init__(self, directory: Path) -> None:
        self.root, self.state = directory / "root", directory / "state"
        self.listener = Listener()
        self.statements = 0
        self.log = CountingLog(self.root, self.state)

    def add_run(self, name: str, points: int = 1) -> None:
        make_run(self.root, f"p/n/runs/{name}", events=created(name) + lines(points))

    def append(self, name: str, points: int) -> None:
        StreamWriter(self.root / f"p/n/runs/{name}/events.jsonl").append(lines(points))

    @contextlib.contextmanager
    def listening(self) -> Generator[tuple[InProcess, Reactions]]:
        """A projector with the listener; what that one does is counted."""
        projector = InProcess(self.root, self.state)
        self.log.looks.clear()
        self.statements = 0
        apsw.connection_hooks.append(self._count)
        host = PluginHost([Plugin("listener", "1", "listener", "enabled", module=self.listener)])
        reactions = Reactions(self.state, self.log, host, first_retry_s=0.01)
        try:
            reactions.start(projector.projector.models.standing(), projector.projector.models.dirty)
            self.tell(projector, reactions)
            yield projector, reactions
        finally:
            reactions.stop()
            apsw.connection_hooks.remove(self._count)
            projector.close()

    def tell(self, projector: InProcess, reactions: Reactions) -> None:
        projector.work()
        reactions.notify(projector.projector.models.standing())

    def _count(self, connection: apsw.Connection) -> None:
        def executed(*_: object) -> bool:
            self.statements += 1
            return True

        connection.exec_trace = executed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def cost_of_a_start(place: Place, runs: int) -> tuple[int, Counter[str], list[tuple[str, int]]]:
    """Statements, looks at the log, and what was heard, where one of `runs` has changed while nobody listened."""
    for number in range(runs):
        place.add_run(f"{number:05}")
    projector = InProcess(place.root, place.state)
    projector.work()
    projector.close()
    with place.listening():
        pass
    assert place.listener.heard == []
    place.append("00007", 2)
    with place.listening():
        wait_until(lambda: len(place.listener.heard) == 2, "what is new")
    return place.statements, place.log.looks, place.listener.heard


def test_a_start_looks_at_what_is_new_and_at_nothing_else(tmp_path: Path) -> None:
    few, looks_at_few, heard_of_few = cost_of_a_start(Place(tmp_path / "few"), FEW)
    many, looks_at_many, heard_of_many = cost_of_a_start(Place(tmp_path / "many"), MANY)
    assert looks_at_many == looks_at_few == {"read": 1}
    assert many <= few + 3  # the thread may get to its last look before it is stopped, or not
    assert heard_of_many == heard_of_few


def test_the_first_start_with_a_plugin_looks_at_no_stream_that_is_applied(place: Place) -> None:
    for number in range(FEW):
        place.add_run(f"{number:05}")
    projector = InProcess(place.root, place.state)
    projector.work()
    projector.close()
    place.append("00003", 2)  # before the plugin is there: not for it
    with place.listening() as (projector, reactions):
        assert place.log.looks == {"complete_end": 1}
        place.append("00003", 1)
        place.append("00004", 1)
        for name in ("00003", "00004"):
            projector.projector.models.mark(Stream("run", f"p/n/runs/{name}"))
        place.tell(projector, reactions)
        wait_until(lambda: len(place.listener.heard) >= 2, "what is new")
    assert [name for name, _ in place.listener.heard] == ["p/n/runs/00003", "p/n/runs/00004"]


def test_a_thread_that_listens_keeps_nothing_of_the_streams_in_memory(place: Place) -> None:
    for number in range(MANY):
        place.add_run(f"{number:05}")
    with place.listening() as (projector, reactions):
        place.listener.fails = True
        for number in range(MANY):
            place.append(f"{number:05}", 1)
            projector.projector.models.mark(Stream("run", f"p/n/runs/{number:05}"))
        place.tell(projector, reactions)
        wait_until(lambda: bool(reactions.problems()), "a failure")
        reactions.stop()
        held = [one for one in gc.get_objects() if type(one).__module__ == "runicorn.projection.reactions"]
        sizes = [len(value) for one in held for value in vars(one).values() if isinstance(value, dict | list | set)]
        assert sizes
        assert max(sizes) < FEW


def test_what_failed_is_heard_after_a_restart_though_its_commit_is_long_past(place: Place) -> None:
    for number in range(3):
        place.add_run(f"{number:05}")
    with place.listening() as (projector, reactions):
        place.listener.fails = True
        for number in range(3):
            place.append(f"{number:05}", 1)
            projector.projector.models.mark(Stream("run", f"p/n/runs/{number:05}"))
        place.tell(projector, reactions)
        wait_until(lambda: _waiting(place) == 3, "every stream to wait for another attempt")
    place.listener.fails = False
    with place.listening():
        wait_until(lambda: len(place.listener.heard) == 3, "what had failed")
        wait_until(lambda: _waiting(place) == 0, "no stream to wait any more")


def test_a_model_that_lost_its_last_commits_in_a_crash_is_followed_from_where_it_stands(place: Place) -> None:
    for number in range(3):
        place.add_run(f"{number:05}")
    with place.listening():
        pass
    # The machine crashed: the cursors are on the disk, the last moves in the read model are not.
    db = apsw.Connection(str(place.state / "listener-cursors.db"))
    db.execute("UPDATE followed SET move = move + 100")
    db.close()
    with place.listening() as (projector, reactions):
        place.append("00001", 1)
        projector.projector.models.mark(Stream("run", "p/n/runs/00001"))
        place.tell(projector, reactions)
        wait_until(lambda: len(place.listener.heard) == 1, "what was appended")


def test_a_read_model_that_was_built_again_is_followed_without_telling_anything_twice(place: Place) -> None:
    for number in range(MANY):
        place.add_run(f"{number:05}")
    with place.listening():
        pass
    for path in place.state.glob("runs-*.db*"):
        path.unlink()
    place.append("00011", 1)
    with place.listening():
        wait_until(lambda: len(place.listener.heard) == 1, "what was appended")
    assert place.log.looks["read"] == 1


def _waiting(place: Place) -> int:
    db = apsw.Connection(str(place.state / "listener-cursors.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        [(count,)] = db.execute("SELECT count(*) FROM waiting").fetchall()
        assert isinstance(count, int)
        return count
    finally:
        db.close()
