"""Replaying the log: built beside what serves, handed over without an error in between."""

from __future__ import annotations

import gc
import os
import threading
import time

import apsw
import pytest

from runicorn.errors import Unavailable
from runicorn.events.append import StreamWriter
from runicorn.events.envelope import encode_event
from runicorn.events.log import FileLog
from runicorn.files import file_lock
from runicorn.host import BUILT_IN, PluginHost, Selection
from runicorn.projection import preparing
from runicorn.projection import rebuild as rebuild_module
from runicorn.projection.base import PreparesStreams
from runicorn.projection.generations import is_ready, model_files
from runicorn.projection.reading import ModelReader
from runicorn.projection.rebuild import ReplayFailed, rebuild
from tests.core.projection.test_projector_process import created, finished, is_level, lines, points
from tests.projecting import InProcess, runs_host
from tests.run_rows import actual_rows, expected_rows
from tests.stores import make_run


@pytest.fixture
def store(root):
    """Forty runs, and one of some megabytes."""
    for number in range(40):
        make_run(root, f"p/n/runs/{number}", events=created(str(number)) + lines(20) + finished())
    make_run(root, "p/n/runs/long", events=created("long") + lines(30_000) + finished())
    make_run(root, "runs/old", meta={"project": "q"}, status={"status": "finished"})
    return root


def rows(state) -> object:
    files = [file.path for file in model_files(state, "runs") if is_ready(file.path)]
    reader = ModelReader(
        state, "runs", list(InProcess(state.parent / "root", state.parent / "scratch").projections["runs"])
    )
    found = reader.query(actual_rows)
    reader.reopen()
    assert files
    return found


def test_without_a_projector_the_new_file_is_the_newest_and_the_old_one_goes(store, state):
    projector = InProcess(store, state)
    projector.work()
    projector.close()
    [old] = model_files(state, "runs")
    told: list[int] = []
    result = rebuild(store, state, runs_host(), None, told.append)
    [new] = model_files(state, "runs")
    assert (new.generation, new.fingerprint) == (old.generation + 1, old.fingerprint)
    assert is_ready(new.path)
    assert rows(state) == expected_rows(store)
    log = FileLog(store, state)
    assert sum(told) == sum(os.path.getsize(log.path(stream)) for stream in log.streams())
    assert result.plugins == ["runs"]
    assert result.events == 40 * 22 + 30_002 + len(log.read(next(log.store_streams())).events)
    assert gc.isenabled()
    assert not list(state.glob("*.building*"))


def test_a_state_that_was_deleted_is_built_from_the_log_alone(store, state):
    rebuild(store, state, runs_host())
    (found, _) = rows(state)  # type: ignore[misc]  # as many as the query gives
    assert len(found) == 41  # all but the run that only files tell of: the projector observes those
    projector = InProcess(store, state)
    projector.work()
    assert len(actual_rows(projector.db)[0]) == 42
    assert actual_rows(projector.db) == expected_rows(store)
    projector.close()


def test_readers_move_over_without_an_error_while_a_run_is_logged(store, state, start):
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    before = {file.path for file in model_files(state, "runs")}
    projections = list(InProcess(store, state.parent / "scratch").projections["runs"])
    stop = threading.Event()
    errors: list[BaseException] = []
    counts: list[int] = []

    def read() -> None:
        reader = ModelReader(state, "runs", projections)
        try:
            while not stop.is_set():
                counts.append(reader.query(lambda db: int(db.execute("SELECT count(*) FROM run").fetchall()[0][0])))
                reader.reopen()  # as for each notice: every query may meet the moment of the change
        except BaseException as error:
            errors.append(error)
        reader.reopen()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        writer = StreamWriter(store / "p/n/runs/0/events.jsonl")
        for attempt in range(3):
            writer.append(lines(100, first=1000 + attempt))
            rebuild(store, state, runs_host())
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not errors
    assert set(counts) == {42}
    [file] = model_files(state, "runs")
    assert file.path not in before
    writer.append(lines(7, first=5000))
    projector.wait_until(lambda: is_level(projector))
    assert points(projector) == 40 * 22 + 30_002 + 307


def test_a_projector_that_is_restarted_uses_the_newest_file(store, state, start):
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    rebuild(store, state, runs_host())
    [file] = model_files(state, "runs")
    projector.kill()
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    assert model_files(state, "runs") == [file]


def test_only_one_rebuild_at_a_time(store, state):
    state.mkdir()
    with file_lock(state / "rebuild.lock"), pytest.raises(Unavailable, match="being rebuilt already"):
        rebuild(store, state, runs_host())


def test_a_rebuild_that_fails_leaves_everything_as_it_was(store, state, plugins, monkeypatch):
    from tests.core.projection.test_projector_process import COUNTING

    monkeypatch.syspath_prepend(str(plugins.directory))
    plugins.add("failing", COUNTING.format(version=1, column="x", apply="assert batch.end < 2000, 'enough'"))
    projector = InProcess(store, state)
    projector.work()
    projector.close()
    before = sorted(path.name for path in state.glob("*.db"))
    host = PluginHost.load(Selection(frozenset({"runs", "failing"})))
    with pytest.raises(ReplayFailed, match="The plugin failing cannot apply the log: AssertionError: enough"):
        rebuild(store, state, host)
    assert sorted(path.name for path in state.glob("*.db")) == before
    assert not list(state.glob("*.building*"))
    assert rebuild(store, state, host, ["runs"]).plugins == ["runs"]


def test_the_leftover_of_a_killed_rebuild_is_removed_by_the_next(store, state):
    state.mkdir()
    (state / "runs.building").write_bytes(b"half a database")
    rebuild(store, state, runs_host())
    assert not (state / "runs.building").exists()
    assert time.time() - model_files(state, "runs")[0].path.stat().st_mtime < 60


@pytest.mark.parametrize("processes", [1, 2])
def test_what_other_processes_prepare_are_the_rows_of_one(store, tmp_path, processes):
    image = {"key": "k", "path": "media/k.png", "step": 3, "caption": "é"}
    image_line = encode_event(5.0, "image", image)
    make_run(store, "p/n/runs/images", events=created("images") + image_line + lines(9000) + image_line)
    tables = {}
    for count in (0, processes):
        state = tmp_path / f"state-{count}"
        rebuild(store, state, runs_host(), processes=count)
        [file] = model_files(state, "runs")
        model = apsw.Connection(os.fspath(file.path))
        names = {row[0]: row[1] for row in model.execute("SELECT id, name FROM stream")}
        tables[count] = {
            "frames": {(names[i >> 32], i & 0xFFFFFFFF): r for i, *r in model.execute("SELECT * FROM metric_frame")},
            "columns": {
                (names[i >> 32], i & 0xFFFFFFFF, n): b for i, n, b in model.execute("SELECT * FROM metric_column")
            },
            "levels": {(names[i >> 34], i & 0x3FFFFFFFF): r for i, *r in model.execute("SELECT * FROM metric_level")},
            "chunks": {(names[i >> 32], i & 0xFFFFFFFF): r for i, *r in model.execute("SELECT * FROM metric_chunk")},
            "own parts": {names[i]: b for i, b in model.execute("SELECT * FROM run_list_own")},
            "parts": {(e, names[i]): b for e, i, b in model.execute("SELECT * FROM run_list_part")},
            "checkpoints": set(
                model.execute("SELECT name, offset, size, inode, modified, head, checksum, bad FROM stream")
            ),
            "rows": actual_rows(model),
            "images": {(names[i], *r) for i, *r in model.execute("SELECT * FROM run_image")},
            "counts": sorted(model.execute("SELECT * FROM run_count")),
        }
        model.close()
    assert len(tables[0]["levels"]) == 3 * (7 + 2)
    assert len(tables[0]["images"]) == 2
    assert tables[0] == tables[processes]


def test_what_is_no_file_is_no_stream_to_a_rebuild(store, state):
    expected = expected_rows(store)[0].keys() - {"runs/old"}
    os.mkfifo(make_run(store, "p/n/runs/pipe") / "events.jsonl")
    (make_run(store, "p/n/runs/directory") / "events.jsonl").mkdir()
    make_run(store, "p/n/runs/empty", events="")
    make_run(store, "p/n/runs/torn", events=created("torn")[:-1])
    rebuild(store, state, runs_host(), processes=1)
    [file] = model_files(state, "runs")
    model = apsw.Connection(os.fspath(file.path))
    odd = ("p/n/runs/pipe", "p/n/runs/directory", "p/n/runs/empty", "p/n/runs/torn")
    found = model.execute(f"SELECT name, offset FROM stream WHERE name IN {odd} ORDER BY name").fetchall()
    assert found == [("p/n/runs/empty", 0), ("p/n/runs/torn", 0)]
    assert actual_rows(model)[0].keys() == expected
    model.close()


def test_the_key_of_a_run_is_stored_in_two_columns(store, state):
    """Each takes fifty bytes of every run, twice with its index; other tables have the number of the stream or of the run."""
    rebuild(store, state, runs_host(), processes=1)
    [file] = model_files(state, "runs")
    model = apsw.Connection(os.fspath(file.path))
    columns = model.execute(
        "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c"
        " WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite%'"
    ).fetchall()
    found = [
        (table, column)
        for table, column in columns
        if model.execute(f'SELECT 1 FROM "{table}" WHERE "{column}" = ?', ("p/n/runs/7",)).fetchall()
    ]
    assert sorted(found) == [("run", "key"), ("stream", "name")]
    model.close()


def test_another_version_of_a_plugin_prepares_nothing(store, state, monkeypatch):
    monkeypatch.setattr(preparing, "fingerprint", lambda _: "another version")
    with pytest.raises(ReplayFailed, match="ended unexpectedly"):
        rebuild(store, state, runs_host(), processes=1)
    assert not list(state.glob("*.building*"))


def test_no_built_in_projection_keeps_a_replay_to_one_processor():
    host = PluginHost.load(Selection(BUILT_IN))
    lacking = [
        projection.name
        for _, projections in host.collect("projections")
        for projection in projections
        if "run" in projection.streams and not isinstance(projection, PreparesStreams)
    ]
    assert lacking == []


HALF_PREPARED = """
    from runicorn.plugin import FoldedProjection, Part, hookimpl
    from half_counting import Counting

    class LastPart(Part):
        ts: float = 0.0

    class Last(FoldedProjection):
        name = "last"
        version = 1
        streams = frozenset({"run"})
        part_type = LastPart
        tables_schema = "CREATE TABLE last(key TEXT PRIMARY KEY, ts REAL)"

        def fold(self, parts, batch):
            parts[batch.stream.name].ts = batch.events[-1].ts

        def merge(self, entity, parts, tables):
            tables.execute("INSERT OR REPLACE INTO last VALUES (?, ?)", (entity, max(part.ts for _, part in parts)))

    @hookimpl
    def runicorn_projections():
        return [Counting(), Last()]
"""


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    ("fold", "reason"),
    [("while True: pass", "has not returned for 1 s"), ("exit(3)", "SystemExit: 3"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_rebuild_ends_whatever_a_projection_does(store, state, plugins, monkeypatch, processes, fold, reason):
    monkeypatch.setenv("RUNICORN_PLUGIN_PATIENCE", "1")
    monkeypatch.setenv("PYTHONPATH", plugins.environment["PYTHONPATH"])
    monkeypatch.syspath_prepend(str(plugins.directory))
    folding = HALF_PREPARED.replace("parts[batch.stream.name].ts = batch.events[-1].ts", fold)
    name = f"folding{processes}{len(fold)}"  # modules stay imported
    plugins.add(
        name, folding.replace("[Counting(), Last()]", "[Last()]").replace("from half_counting import Counting", "")
    )
    host = PluginHost.load(Selection(frozenset({"runs", name})))
    with pytest.raises(ReplayFailed, match=rf"The plugin {name} cannot apply the log: .*{reason}"):
        rebuild(store, state, host, processes=processes)
    assert not list(state.glob("*.building*"))


@pytest.mark.parametrize("processes", [0, 1])
def test_a_projection_that_prepares_nothing_is_given_every_event_and_others_are_prepared_nevertheless(
    store, state, plugins, monkeypatch, processes
):
    from tests.core.projection.test_projector_process import COUNTING

    monkeypatch.syspath_prepend(str(plugins.directory))
    plugins.add("half_counting", COUNTING.format(version=1, column="x", apply="pass"))
    plugins.add("half", HALF_PREPARED)
    host = PluginHost.load(Selection(frozenset({"runs", "half"})))
    prepared: list[str] = []
    start = rebuild_module.Preparers

    def started(log, projections, count, *, is_idle):
        prepared.extend(projections)
        return start(log, projections, count, is_idle=is_idle)

    monkeypatch.setattr(rebuild_module, "Preparers", started)
    rebuild(store, state, host, processes=processes)
    assert prepared == (["runs"] if processes else [])
    assert rows(state)[0].keys() == expected_rows(store)[0].keys() - {"runs/old"}
    [file] = model_files(state, "half")
    model = apsw.Connection(os.fspath(file.path))
    assert model.execute("SELECT count(*), count(DISTINCT stream_id) FROM seen").fetchall() == [(40 * 22 + 30_002, 41)]
    assert model.execute("SELECT count(*) FROM last").fetchall() == [(41,)]
    model.close()
