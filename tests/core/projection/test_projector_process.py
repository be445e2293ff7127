"""The projector process: every event exactly once, whatever is killed when; found promptly, repaired by itself."""

from __future__ import annotations

import json
import os
import random
import shutil
import time

import pytest

from runicorn.events.append import StreamWriter
from runicorn.events.envelope import encode_event
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.projection.__main__ import EXIT_LOCKED
from runicorn.projection.generations import model_files
from runicorn.projection.journal import recorded
from runicorn.projection.wire import Request
from tests.projecting import InProcess
from tests.run_rows import expected_rows
from tests.stores import make_run, metrics_event


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(
        encode_event(1.0 + n, "metrics", {"loss": n / 2, "global_step": n}) for n in range(first, first + count)
    )


def created(run_id: str, at: float = 1.0) -> bytes:
    return encode_event(at, "run.created", {"run_id": run_id, "project": "p", "name": "n", "created_at": at})


def finished(at: float = 9.0) -> bytes:
    return encode_event(at, "run.finished", {"status": "finished", "ended_at": at})


def points(projector) -> int:
    """How many events the read model counts, over all streams."""
    return projector.query("SELECT coalesce(sum(events), 0) FROM activity")[0][0]


def is_level(projector) -> bool:
    return projector.is_live() and projector.rows() == expected_rows(projector.root)


@pytest.mark.slow
def test_killed_during_a_build_every_event_is_applied_exactly_once(root, state, start):
    chance = random.Random(1)
    for number in range(300):
        make_run(root, f"p/n/runs/{number}", events=created(str(number)) + lines(40) + finished())
    make_run(root, "p/n/runs/long", events=created("long") + lines(400_000))
    kills = 0
    while True:
        projector = start()
        projector.wait_until(lambda: bool(model_files(state, "runs")))
        moment = time.monotonic() + chance.uniform(0.0, 0.3)
        projector.wait_until(
            lambda moment=moment, projector=projector: time.monotonic() > moment or projector.is_live()
        )
        if kills >= 8 or projector.is_live():
            break
        projector.kill()
        kills += 1
    assert kills >= 2
    projector.wait_until(lambda: is_level(projector))
    assert points(projector) == 300 * 42 + 400_001


@pytest.mark.slow(3)
def test_killed_while_a_run_is_logged_every_event_is_applied_exactly_once(root, start):
    chance = random.Random(2)
    run = make_run(root, "p/n/runs/one")
    writer = StreamWriter(run / "events.jsonl")
    writer.append(created("one"))
    written = 1
    for _ in range(6):
        projector = start()
        moment = time.monotonic() + chance.uniform(0.2, 0.5)
        while time.monotonic() < moment:
            writer.append(lines(50, first=written))
            written += 50
        projector.kill()
    projector = start()
    writer.append(finished())
    projector.wait_until(lambda: is_level(projector))
    assert points(projector) == written + 1


def test_a_new_run_is_found_and_followed(root, start):
    projector = start()
    projector.wait_until(projector.is_live)
    run = make_run(root, "new/name/runs/one")
    writer = StreamWriter(run / "events.jsonl")
    writer.append(created("one"))
    projector.wait_until(lambda: is_level(projector) and bool(projector.rows()[0]))
    for number in range(5):
        writer.append(lines(10, first=number * 10))
        projector.wait_until(lambda number=number: points(projector) == 1 + (number + 1) * 10)


def test_a_runs_directory_that_was_removed_and_made_again_is_watched_again(root, start):
    make_run(root, "p/n/runs/one", events=created("one"))
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    for attempt in range(2):
        shutil.rmtree(root / "p/n/runs")
        projector.wait_until(lambda: is_level(projector) and not projector.rows()[0])
        make_run(root, f"p/n/runs/again{attempt}", events=created("again"))
        projector.wait_until(lambda: is_level(projector) and len(projector.rows()[0]) == 1)


def test_a_change_in_a_finished_run_is_found_by_the_sweep(root, start):
    run = make_run(root, "p/n/runs/one", events=created("one") + finished(), meta={"project": "p"})
    make_run(root, "p/n/runs/old", meta={"project": "q"}, status={"status": "finished"})
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    with (run / "events.jsonl").open("ab") as file:
        file.write(lines(3, first=100))
    (root / "p/n/runs/old/meta.json").write_text(json.dumps({"project": "changed"}))
    projector.wait_until(lambda: is_level(projector) and projector.rows()[0]["p/n/runs/old"]["project"] == "changed")
    assert points(projector) == 5


def test_a_run_that_vanished_disappears_and_comes_back(root, start):
    make_run(root, "p/n/runs/one", meta={"project": "p"}, status={"status": "finished"})
    make_run(root, "p/n/runs/two", meta={"project": "p"})
    projector = start()
    projector.wait_until(lambda: len(projector.rows()[0]) == 2)
    (root / "p/n/runs/one").rename(root / "aside")
    projector.wait_until(lambda: set(projector.rows()[0]) == {"p/n/runs/two"})
    (root / "aside").rename(root / "p/n/runs/one")
    projector.wait_until(lambda: set(projector.rows()[0]) == {"p/n/runs/one", "p/n/runs/two"})
    assert is_level(projector)


def test_a_root_that_looks_unmounted_loses_no_run(root, state, start):
    make_run(root, "p/n/runs/one", meta={"project": "p"}, events=created("one") + finished())
    projector = start()
    projector.wait_until(lambda: len(projector.rows()[0]) == 1)
    before = sorted((root / ".runicorn/log").iterdir())
    root.rename(root.with_name("aside"))
    root.mkdir()
    projector.wait_until(lambda: "gone or empty" in projector.log.read_text())
    assert list(projector.rows()[0]) == ["p/n/runs/one"]
    projector.kill()
    projector = start()
    projector.wait_until(projector.is_live)
    assert list(projector.rows()[0]) == ["p/n/runs/one"]
    assert not list(root.glob("*/log/*.jsonl"))
    shutil.rmtree(root)
    root.with_name("aside").rename(root)
    make_run(root, "p/n/runs/two", events=created("two"))
    projector.wait_until(lambda: is_level(projector) and len(projector.rows()[0]) == 2)
    assert [path.name for path in before] == [path.name for path in sorted((root / ".runicorn/log").iterdir())]
    assert b"run.vanished" not in (root / ".runicorn/log/00000001.jsonl").read_bytes()


def test_a_steady_stream_of_events_starves_neither_the_first_build_nor_new_runs(root, start):
    run = make_run(root, "p/n/runs/busy")
    writer = StreamWriter(run / "events.jsonl")
    writer.append(created("busy"))
    for number in range(50):
        make_run(root, f"p/n/runs/old{number}", meta={"project": "p"}, status={"status": "finished"})
    projector = start()
    written = 0

    def is_live_while_writing() -> bool:
        nonlocal written
        for _ in range(50):
            writer.append(lines(2, first=written))
            written += 2
        return projector.is_live()

    projector.wait_until(is_live_while_writing)
    assert len(projector.rows()[0]) == 51
    make_run(root, "p/n/runs/late", meta={"project": "p"})
    projector.wait_until(lambda: is_live_while_writing() and len(projector.rows()[0]) == 52)


def test_a_request_is_answered_when_the_stream_is_applied(root, start):
    make_run(root, "p/n/runs/one", events=created("one") + finished())
    projector = start()
    projector.wait_until(projector.is_live)
    for number in range(20):
        StreamWriter(root / "p/n/runs/one/events.jsonl").append(lines(1, first=number))
        reply = projector.ask(Request(5, "apply", "p/n/runs/one"))
        assert reply is not None
        assert (reply.id, reply.ok) == (5, True)
        assert points(projector) == 3 + number
    make_run(root, "p/n/runs/two", meta={})
    assert projector.ask(Request(6, "discover")) is not None
    assert "p/n/runs/two" in projector.rows()[0]
    assert projector.ask(Request(7, "apply", "no/such/runs/stream")) is not None


@pytest.mark.parametrize("damage", ["middle", "all", "empty", "other"])
def test_a_damaged_read_model_is_built_again(root, state, start, damage):
    for number in range(40):
        make_run(root, f"p/n/runs/{number}", events=created(str(number)) + lines(20) + finished())
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    assert projector.stop() == 0
    [file] = model_files(state, "runs")
    size = file.path.stat().st_size
    with file.path.open("r+b") as content:
        if damage == "middle":
            content.seek(8192)
            content.write(os.urandom(size - 8192))
        elif damage == "all":
            content.write(os.urandom(size))
        else:
            content.truncate(0)
    if damage == "other":
        file.path.write_bytes(b"SQLite format 3\0 but not really" * 100)
    projector = start()
    for _ in range(3):  # it ends when it finds damage while it works, and is started again
        time_left = time.monotonic() + 2
        while projector.process.poll() is None and not is_level(projector) and time.monotonic() < time_left:
            (root / "p/n/runs/0/events.jsonl").touch()
            time.sleep(0.02)
        if projector.process.poll() is None:
            break
        projector = start()
    StreamWriter(root / "p/n/runs/0/events.jsonl").append(lines(1, first=50))
    projector.wait_until(lambda: is_level(projector))
    assert (damage == "empty") != bool(list(state.glob("*.damaged")))


def test_damaged_signatures_of_files_are_made_again(root, state, start):
    make_run(root, "p/n/runs/one", meta={"project": "p"})
    projector = start()
    projector.wait_until(lambda: is_level(projector) and bool(projector.rows()[0]))
    projector.stop()
    log = (root / ".runicorn/log/00000001.jsonl").read_bytes()
    (state / "observed.db").write_bytes(os.urandom(20_000))
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    assert (root / ".runicorn/log/00000001.jsonl").read_bytes() == log  # observed again, and nothing new was found


def test_only_one_projector_works_on_a_state_directory(start):
    first = start()
    first.wait_until(first.is_live)
    second = start()
    assert second.process.wait(30) == EXIT_LOCKED
    assert first.is_live()


def test_it_ends_with_its_parent_and_on_sigterm(start):
    first = start()
    first.wait_until(first.is_live)
    assert first.leave_alone() == 0
    second = start()
    second.wait_until(second.is_live)
    assert second.stop() == 0


def test_commands_of_other_processes_are_noticed(root, state, start):
    from runicorn.plugin import RunObserved

    make_run(root, "p/n/runs/one", events=created("one") + finished())
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    content = {"deleted_at": 5.0, "reason": "user_deleted"}
    StoreStream(FileLog(root, state)).append(
        RunObserved(run="p/n/runs/one", run_id="one", file="summary.json", content=content, observed_at=1.0)
    )
    projector.wait_until(
        lambda: is_level(projector) and "user_deleted" in projector.rows()[0]["p/n/runs/one"]["summary"]
    )


COUNTING = """
    from runicorn.plugin import hookimpl

    class Counting:
        name = "counting"
        version = {version}
        schema = "CREATE TABLE seen(stream_id INTEGER, offset INTEGER, {column} INTEGER DEFAULT 0)"
        streams = frozenset({{"run"}})

        def apply(self, batch, tables):
            {apply}
            tables.executemany(
                "INSERT INTO seen(stream_id, offset) VALUES (?, ?)", [(batch.stream_id, offset) for offset in batch.offsets]
            )

        def forget(self, stream_id, tables):
            tables.execute("DELETE FROM seen WHERE stream_id = ?", (stream_id,))

    @hookimpl
    def runicorn_projections():
        return [Counting()]
"""


def test_a_projection_that_raises_stops_its_own_read_model_only(root, state, start, plugins):
    plugins.add("count_up", COUNTING.format(version=1, column="x", apply="assert batch.end < 2000, 'enough'"))
    entry_points = plugins.directory / "count_up-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[runicorn.plugins]\ncount-up = count_up\n")  # as most third-party plugins are named
    run = make_run(root, "p/n/runs/one", events=created("one") + lines(5))
    projector = start(plugins_selected="runs,count-up")
    projector.wait_until(lambda: is_level(projector))
    before = projector.query("SELECT count(*) FROM seen", plugin="count-up")
    assert before == [(6,)]
    journal = recorded(state)
    assert journal is not None
    StreamWriter(run / "events.jsonl").append(lines(100, first=10))
    projector.wait_until(lambda: points(projector) == 106)
    status = projector.status()
    assert status is not None
    assert status.failed == {"count-up": "AssertionError: enough"}
    assert projector.query("SELECT count(*) FROM seen", plugin="count-up") == before  # at its checkpoint
    # What it lacked was committed in the others and told to nobody: live clients have to read anew.
    projector.wait_until(lambda: (now := recorded(state)) is not None and now[0] != journal[0])


def test_a_plugin_with_a_broken_schema_keeps_no_other_from_working(root, start, plugins):
    plugins.add("broken", COUNTING.format(version=1, column="x", apply="pass").replace("CREATE TABLE", "CREATE TALBE"))
    make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,broken")
    projector.wait_until(lambda: is_level(projector))
    status = projector.status()
    assert status is not None
    assert "syntax error" in status.failed["broken"]


def test_a_new_version_of_a_projection_is_built_beside_the_old_file(root, state, start, plugins):
    plugins.add("count", COUNTING.format(version=1, column="x", apply="pass"))
    make_run(root, "p/n/runs/one", events=created("one") + lines(5))
    projector = start(plugins_selected="runs,count")
    projector.wait_until(lambda: is_level(projector))
    projector.stop()
    [old] = model_files(state, "count")
    (plugins.directory / "count.py").write_text("")
    shutil.rmtree(plugins.directory / "count-1.0.dist-info")
    plugins.add("count", COUNTING.format(version=2, column="y", apply="pass"))
    projector = start(plugins_selected="runs,count")
    projector.wait_until(lambda: is_level(projector))
    assert projector.query("SELECT count(y) FROM seen", plugin="count") == [(6,)]
    assert old.path.exists()  # whoever runs the old version may still read it
    projector.stop()
    two_days_ago = time.time() - 2 * 86400
    for path in state.glob(f"{old.path.name}*"):
        os.utime(path, (two_days_ago, two_days_ago))
    projector = start(plugins_selected="runs,count")
    projector.wait_until(lambda: not old.path.exists())


SOURCE = """
    from runicorn.plugin import hookimpl

    class Moody:
        name = "moody"
        files = frozenset({"moody.txt"})

        def observe(self, root, run, model):
            raise RuntimeError("not today")

    class Nothing:
        name, version, schema = "nothing", 1, "CREATE TABLE unused(stream_id INTEGER)"
        streams = frozenset()

        def apply(self, batch, tables): ...
        def forget(self, stream_id, tables): ...

    @hookimpl
    def runicorn_projections():
        return [Nothing()]

    @hookimpl
    def runicorn_sources(root):
        return [Moody()]
"""


def test_a_source_that_raises_is_disabled_and_asked_again_by_the_next_process(root, start, plugins):
    plugins.add("moody", SOURCE)
    make_run(root, "p/n/runs/one", meta={"project": "p"})
    for attempt in (1, 2):
        projector = start(plugins_selected="runs,moody")
        projector.wait_until(lambda projector=projector: is_level(projector) and len(projector.rows()[0]) == 1)
        projector.wait_until(
            lambda attempt=attempt, projector=projector: (
                projector.log.read_text().count("source moody is disabled") == attempt
            )
        )
        projector.stop()


def test_polling_follows_a_run_as_watching_does(root, state, start):
    make_run(root, "p/n/runs/one", events=created("one"))
    projector = start("--poll")
    projector.wait_until(lambda: is_level(projector))
    status = projector.status()
    assert status is not None
    assert status.watching == "polling"
    StreamWriter(root / "p/n/runs/one/events.jsonl").append(metrics_event(2.0, loss=1).encode())
    projector.wait_until(lambda: points(projector) == 2)
    make_run(root, "q/n/runs/two", events=created("two"))
    projector.wait_until(lambda: is_level(projector) and len(projector.rows()[0]) == 2)


def test_a_new_directory_is_watched_until_its_first_files_are_there(root, state):
    projector = InProcess(root, state)
    try:
        projector.work()
        directory = make_run(root, "p/n/runs/new")
        projector.projector.discover()
        assert str(directory) in projector.projector.directories_to_watch()
        event = encode_event(5.0, "run.created", {"run_id": "new", "project": "p", "name": "n", "created_at": 5.0})
        (directory / "events.jsonl").write_bytes(event)
        projector.projector.changed({str(directory / "events.jsonl")})
        projector.work()
        assert projector.db.execute("SELECT status FROM run").fetchall() == [("running",)]
        assert list(projector.log.store_streams()) == []  # nothing had to be observed
    finally:
        projector.close()
