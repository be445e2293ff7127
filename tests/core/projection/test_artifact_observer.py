"""Looking at artifacts: what changed is asked about, while nobody changes it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, cast

import apsw
import pytest
from filelock import FileLock

from runicorn.events.envelope import Payload
from runicorn.events.log import FileLog, Stream
from runicorn.events.store import StoreStream
from runicorn.projection.artifacts import ArtifactObserver
from runicorn.projection.model import ReadModel
from runicorn.projection.recording import ObservedEvents

KEY = "artifacts/model/net"


class NoteSeen(Payload, frozen=True, kw_only=True):
    event_type: ClassVar[str] = "note.seen"
    key: str


class Notes:
    """A source that reads `note` in the folder of an artifact."""

    name = "notes"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: list[str] = []
        self.broken = False

    def signature(self, root: Path, key: str) -> int | None:
        if not (root / key).is_dir():
            return None
        note = root / key / "note"
        return zlib.crc32(note.read_bytes()) if note.exists() else 0

    def observe_artifact(self, root: Path, key: str, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        self.asked.append(key)
        if self.broken:
            raise RuntimeError("broken")
        return [(5.0, NoteSeen(key=key))]

    def known_artifacts(self, model: apsw.Connection) -> Iterable[str]:
        return self.known


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root.parent / "state"
        self.state.mkdir(exist_ok=True)
        self.folder = root / KEY
        self.folder.mkdir(parents=True)
        self.source = Notes()
        self.applied: list[Stream] = []
        self.log = FileLog(root, self.state)
        self.model = ReadModel.open_newest(self.state, "notes", [])
        self.observer = self.open()

    def open(self) -> ArtifactObserver:
        return ArtifactObserver(
            self.root, self.state, ObservedEvents(StoreStream(self.log)), [(self.model, self.source)]
        )

    def look(self) -> bool:
        return self.observer.look(KEY, self.applied.append)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "root")
    yield world
    world.model.close()


def test_a_new_artifact_is_found_and_asked_about_once(world: World) -> None:
    assert world.observer.discover() == [KEY]
    assert KEY in world.observer.waiting
    world.observer.work(10, world.applied.append)
    assert (world.source.asked, len(world.observer.waiting)) == ([KEY], 0)
    assert world.look()
    assert world.source.asked == [KEY]


def test_the_artifacts_own_stream_is_applied_first_and_what_was_observed_after(world: World) -> None:
    world.look()
    assert world.applied == [Stream("artifact", KEY), Stream("store", ".runicorn/log/00000001")]
    [event] = world.log.read(world.applied[1]).events
    assert (event.ts, event.type) == (5.0, "note.seen")


def test_a_change_is_found_and_remembered_over_restarts(world: World) -> None:
    world.observer.discover()
    world.look()
    again = world.open()
    again.discover()
    assert again.look(KEY, world.applied.append)
    assert world.source.asked == [KEY]
    (world.folder / "note").write_text("new")
    for _ in again.look_at_all():
        pass
    assert KEY in again.waiting
    again.look(KEY, world.applied.append)
    assert world.source.asked == [KEY, KEY]


def test_an_artifact_that_somebody_changes_is_left_alone_and_asked_about_later(world: World) -> None:
    world.observer.discover()
    world.observer.waiting.begin()
    with FileLock(world.folder / ".lock"):
        assert not world.look()
        assert world.observer.waiting.is_past_first_round
        assert KEY in world.observer.waiting
        assert world.source.asked == []
    assert world.look()
    assert world.source.asked == [KEY]


def test_looking_creates_nothing_in_the_artifact(world: World) -> None:
    world.look()
    assert list(world.folder.iterdir()) == []


def test_what_vanished_unnoticed_is_asked_about(world: World) -> None:
    world.source.known = ["artifacts/model/gone"]
    for _ in world.observer.look_at_all():
        pass
    world.observer.work(10, world.applied.append)
    assert "artifacts/model/gone" in cast(list[str], world.source.asked)


def test_a_source_that_fails_is_disabled_and_shown(world: World) -> None:
    world.source.broken = True
    assert world.look()
    assert world.observer.failed == {"notes": "source notes: RuntimeError: broken"}
    (world.folder / "note").write_text("new")
    assert world.look()
    assert world.source.asked == [KEY]


def test_paths_of_artifacts_are_told_from_others(world: World) -> None:
    noticed = world.observer.noticed
    assert noticed(f"{KEY}/versions.json") == KEY
    assert noticed(f"{KEY}/v3/metadata.json") == KEY
    assert [noticed(path) for path in ("artifacts/.dedup/ab/x", "artifacts/model", "p/n/runs/x/meta.json")] == [
        None
    ] * 3
    assert world.observer.directories()[:2] == [str(world.root / "artifacts"), str(world.root / "artifacts/model")]
