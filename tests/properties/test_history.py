"""Histories: positions are a function of what streams hold, and a command that is taken back leaves no trace but itself."""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.cli.opened_store import OpenedStore
from runicorn.events.log import FileLog, Stream
from runicorn.experiment_file import ExperimentMetadata
from runicorn.history.entries import presentable
from runicorn.history.paging import Cursor, HistoryWanted, positions
from runicorn.history.subject import NotReversible, Subject
from runicorn.history.telling import history_page
from runicorn.history.undoing import check, choose
from runicorn.host import PluginHost, Selection
from runicorn.projection.catch_up import catch_up
from runicorn.projection.model import ReadModel
from runicorn.run_commands.annotating import annotate
from runicorn.run_commands.recycling import RunPlace
from runicorn_artifacts import deleting, promoting, queries
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.history.subject import ArtifactSubject
from runicorn_artifacts.lifecycle import STAGES
from runicorn_runs.history.labels import RUN_HISTORY
from runicorn_runs.history.subject import RunSubject
from runicorn_runs.history.telling import RunTeller
from tests.core.run_commands.places import Place
from tests.plugins.artifacts import artifact_folders
from tests.projecting import InProcess
from tests.properties.test_convergence import KEYS, STREAMS, hostile_lines, worlds
from tests.stores import make_run

Entry = tuple[float, str, int, str]


def expected(world: Sequence[bytes]) -> dict[str, list[Entry]]:
    """What is in the history of each run: (time, stream, offset, type), read with `json` alone."""
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    for name, content in zip(STREAMS, world, strict=True):
        offset, last = 0, 0.0
        for line in content.splitlines(keepends=True):
            start, offset = offset, offset + len(line)
            try:
                event = json.loads(line.decode("utf-8", "ignore").lstrip("\ufeff"))
            except ValueError:
                continue
            if not line.endswith(b"\n") or not isinstance(event, dict):
                continue
            kind, ts, data = event.get("type"), event.get("ts"), event.get("data")
            if not isinstance(kind, str) or not kind:
                continue
            ts = float(ts) if isinstance(ts, int | float) and not isinstance(ts, bool) else math.nan
            ts = ts if math.isfinite(ts) else math.nan
            if not name.startswith(".runicorn"):
                if kind not in ("metrics", "image"):
                    last = last if math.isnan(ts) else max(last, ts)
                    found[name].append((last, name, start, kind))
            elif isinstance(data, dict) and isinstance(data.get("run"), str):
                found[data["run"]].append((0.0 if math.isnan(ts) else ts, name, start, kind))
    return {key: sorted(entries) for key, entries in found.items()}


def pages(model: ReadModel, key: str, size: int, *, newest_first: bool) -> list[Entry]:
    found: list[Entry] = []
    after = None
    while True:
        page = positions(model.connection, RUN_HISTORY, key, HistoryWanted(size, newest_first, after=after))
        found += [(it.at, it.stream, it.offset, it.label.partition(":")[0]) for it in page]
        if len(page) < size:
            return found
        after = Cursor(newest_first, page[-1].at, page[-1].stream, page[-1].offset)


def level(log: FileLog, model: ReadModel, name: str, limit: int) -> None:
    with model.transaction():
        while catch_up(log, [model], Stream.named(name), limit=limit).more:
            pass


@settings(max_examples=80)
@given(
    worlds,
    st.lists(st.tuples(st.sampled_from(["grow", "grow", "remove"]), st.sampled_from(range(5)), st.integers(1, 400))),
    st.integers(1, 4),
)
def test_positions_are_those_of_the_streams_however_they_were_read(
    world: list[bytes], steps: list[tuple[str, int, int]], size: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        log = FileLog(root, root / "state")
        model = ReadModel(root / "one.db", "runs", [RUN_HISTORY])
        paths = [Path(log.path(Stream.named(name))) for name in STREAMS]
        for what, number, count in [*steps, *(("grow", number, 1 << 30) for number in range(5))]:
            path = paths[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "remove":
                path.unlink(missing_ok=True)
            else:
                have = path.stat().st_size if path.exists() else 0
                with path.open("ab") as file:
                    file.write(world[number][have : have + count])
            level(log, model, STREAMS[number], 64)
        whole = expected(world)
        for key in KEYS:
            assert pages(model, key, size, newest_first=False) == whole.get(key, [])
            assert pages(model, key, size, newest_first=True) == whole.get(key, [])[::-1]
        model.close()


def test_nobody_speaks_for_others(tmp_path: Path) -> None:
    """A run does not delete itself by its own stream, nor does the store stream say what a training did."""
    about = {"run": KEYS[0], "run_id": "a", "status": "finished", "ended_at": 1.0, "tags": ["x"]}
    kinds = ("run.tagged", "run.finished", "run.observed", "metrics", "run.praised")
    lines = "".join(
        json.dumps({"ts": 1.0, "type": kind, "data": {**about, "file": "meta.json"}}) + "\n" for kind in kinds
    )
    log = FileLog(tmp_path, tmp_path / "state")
    model = ReadModel(tmp_path / "one.db", "runs", [RUN_HISTORY])
    for name in (KEYS[0], STREAMS[-1]):
        path = Path(log.path(Stream.named(name)))
        path.parent.mkdir(parents=True)
        path.write_text(lines)
        level(log, model, name, 1 << 20)
    found = [(stream, kind) for _, stream, _, kind in pages(model, KEYS[0], 100, newest_first=False)]
    assert [kind for stream, kind in found if stream == KEYS[0]] == ["run.finished", "run.praised"]
    others = ["run.tagged", "run.observed", "metrics", "run.praised"]
    assert [kind for stream, kind in found if stream == STREAMS[-1]] == others
    model.close()


@pytest.mark.slow(4)
@settings(max_examples=150)
@given(st.lists(hostile_lines(), max_size=10))
def test_whatever_a_file_holds_its_history_can_be_sent(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        log = FileLog(root, root / "state")
        model = ReadModel(root / "one.db", "runs", [RUN_HISTORY])
        for name in STREAMS:
            path = Path(log.path(Stream.named(name)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(lines))
            level(log, model, name, 1 << 20)
        for key in KEYS:
            page = history_page(model.connection, log, RUN_HISTORY, RunTeller(), key, HistoryWanted(100))
            msgspec.json.encode([presentable(entry) for entry in page.entries])
        model.close()


KEY = "p/n/runs/a"
run_commands = st.lists(
    st.one_of(
        st.tuples(st.just("tags"), st.lists(st.sampled_from("abc"), unique=True, max_size=2)),
        st.tuples(st.just("description"), st.sampled_from([None, "one", "two"])),
        st.tuples(st.sampled_from(["archived", "pinned"]), st.booleans()),
        st.tuples(st.just("delete"), st.sampled_from(["user_deleted", "old"])),
        st.tuples(st.just("restore"), st.none()),
    ),
    max_size=6,
)


def taken_back(subject: Subject) -> None:
    command = choose(subject, None)
    check(command)
    subject.take_back(command.changes, "undone")


def check_undo(
    subject: Subject, state: Callable[[], object], before: object, after: object, *, stays_undone: bool
) -> None:
    """The last command can be taken back, and that, too."""
    taken_back(subject)
    assert state() == before
    taken_back(subject)
    assert state() == after
    if stays_undone:
        taken_back(subject)
        assert state() == before


@pytest.mark.slow(4)
@settings(max_examples=40)
@given(run_commands, st.data())
def test_after_an_undo_a_run_is_as_before_and_after_another_as_it_was(
    commands: list[tuple[str, Any]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        make_run(place.root, KEY, meta={"project": "p", "name": "n", "created_at": 5.0}, status={"status": "finished"})
        place.rows()
        store = OpenedStore(place.root, place.log.state_dir, place.projector.host)
        subject = RunSubject(store, KEY)

        def state() -> tuple[Any, ...]:
            entries = json.loads((place.root / ".experiments_metadata.json").read_text()) if has_entries() else {}
            entry = {name: value for name, value in entries.get("a", {}).items() if name != "updated_at"}
            marker = place.root / KEY / ".deleted"
            said = {"archived": False, "description": None, "pinned": False, "tags": []}
            return (
                place.rows(),
                {name: entry.get(name, value) for name, value in said.items()},
                json.loads(marker.read_text()) if marker.exists() else None,
            )

        def has_entries() -> bool:
            return (place.root / ".experiments_metadata.json").exists()

        for what, value in commands:
            before = state()
            carry_out(place, what, value)
            after = state()
            if before != after:
                check_undo(subject, state, before, after, stays_undone=data.draw(st.booleans()))
        store.reopen()
        place.projector.close()


def carry_out(place: Place, what: str, value: Any) -> None:
    if what == "delete":
        place.delete(KEY, reason=value)
    elif what == "restore":
        place.restore(KEY)
    else:
        known = ExperimentMetadata("a", "p", "n", updated_at=0.0)
        annotate(place.root, RunPlace(KEY, "a"), known, lambda _: {what: value}, place.record)


ARTIFACT = "artifacts/model/net"
artifact_commands = st.lists(
    st.one_of(
        st.tuples(st.just("promote"), st.sampled_from([1, 2]), st.sampled_from(STAGES)),
        st.tuples(st.just("alias"), st.sampled_from([1, 2, None]), st.sampled_from(["good", "best"])),
        st.tuples(st.sampled_from(["delete", "restore"]), st.sampled_from([1, 2]), st.none()),
    ),
    max_size=8,
)


@pytest.mark.slow(4)
@settings(max_examples=40)
@given(artifact_commands, st.data())
def test_after_an_undo_an_artifact_is_as_before_and_after_another_as_it_was(
    commands: list[tuple[str, Any, Any]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        made = artifact_folders.ArtifactFolder(root, "model", "net")
        made.save(1)
        made.save(2)
        host = PluginHost.load(Selection(frozenset({"artifacts"})))
        projector = InProcess(root, Path(directory) / "state", host)
        projector.sweep()
        store = OpenedStore(root, Path(directory) / "state", host)
        folder = ArtifactFolder(root / ARTIFACT, "model", "net")
        subject = ArtifactSubject(store, folder)

        def state() -> tuple[Any, ...]:
            projector.sweep()
            db = projector.models["artifacts"].connection
            versions = [(it.version, it.is_deleted, it.stage) for it in queries.versions(db, ARTIFACT)]
            now = ArtifactFolder(root / ARTIFACT, "model", "net")
            files = [(now.is_deleted(number), now.lifecycle(number).stage) for number in (1, 2)]
            return versions, queries.aliases_by_version(db, ARTIFACT), now.aliases, files

        for what, version, argument in commands:
            before = state()
            if not carried_out(folder, what, version, argument):
                continue
            after = state()
            if before != after:
                check_undo(subject, state, before, after, stays_undone=data.draw(st.booleans()))
        store.reopen()
        projector.close()


def carried_out(folder: ArtifactFolder, what: str, version: Any, argument: Any) -> bool:
    try:
        if what == "promote":
            promoting.promote(folder, version, argument)
        elif what == "alias":
            promoting.set_alias(folder, argument, version)
        elif what == "delete":
            deleting.soft_delete(folder, version)
        else:
            deleting.restore(folder, version)
    except Exception:  # what is not allowed now
        return False
    return True


def test_what_was_changed_meanwhile_by_others_is_not_overwritten(tmp_path: Path) -> None:
    place = Place(tmp_path)
    make_run(place.root, KEY, meta={"project": "p", "name": "n", "created_at": 5.0})
    place.rows()
    carry_out(place, "tags", ["ours"])
    place.rows(look=False)
    store = OpenedStore(place.root, place.log.state_dir, place.projector.host)
    path = place.root / ".experiments_metadata.json"
    entries = json.loads(path.read_text())
    entries["a"] |= {"tags": ["theirs"], "updated_at": entries["a"]["updated_at"] + 10}
    path.write_text(json.dumps(entries))  # nobody has observed it yet
    before = list(place.events())
    with pytest.raises(NotReversible, match="tags is no longer as the command left it"):
        taken_back(RunSubject(store, KEY))
    assert json.loads(path.read_text()) == entries
    assert list(place.events()) == before
    store.reopen()
    place.projector.close()
