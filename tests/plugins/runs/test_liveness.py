"""Runs whose process is gone: found, recorded once, and never against a run that has ended itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runicorn.events.envelope import decode_data
from runicorn.events.log import FileLog
from runicorn.files import file_lock
from runicorn.sdk.run import Run
from runicorn.store import Store
from runicorn_runs.facts import Meta
from runicorn_runs.liveness import Liveness, record_lost
from tests.projecting import InProcess, runs_host
from tests.promises import FOUND_DEAD_S
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

Serve = Callable[..., Server]
KEY = "p/n/runs/20260101_000000_000001"
RUNNING = {"status": "running", "started_at": 5.0, "kept": "as it is"}


def recorded(root: Path, state: Path) -> list[dict[str, Any]]:
    log = FileLog(root, state)
    events = [event for stream in log.store_streams() for event in log.read(stream).events]
    return [{"ts": event.ts, "type": event.type, **decode_data(event)} for event in events]


def status_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "status.json").read_text())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "root").mkdir()
    return Store(tmp_path / "root", tmp_path / "state", runs_host())


def test_event_and_file_say_the_same_and_the_rest_of_the_file_stays(store: Store) -> None:
    directory = make_run(store.root, KEY, status=RUNNING)
    assert record_lost(store, KEY, "one") is not None

    (event,) = recorded(store.root, store.state_dir)
    assert event["type"] == "run.lost"
    assert event["ts"] == event["ended_at"]
    assert status_of(directory) == {
        **RUNNING,
        "status": "failed",
        "ended_at": event["ended_at"],
        "exit_reason": "process_not_found",
    }


def test_a_run_that_ends_while_it_is_judged_has_ended_itself(store: Store) -> None:
    directory = make_run(store.root, KEY, status=RUNNING)
    found: list[object] = []
    judge = threading.Thread(target=lambda: found.append(record_lost(store, KEY, "one")))
    with file_lock(directory / "status.json.lock"):
        judge.start()
        (directory / "status.json").write_text('{"status": "finished"}')
    judge.join(20)

    assert found == [None]
    assert recorded(store.root, store.state_dir) == []
    assert status_of(directory) == {"status": "finished"}


def test_the_end_is_recorded_before_the_lock_is_given_back(store: Store) -> None:
    directory = make_run(store.root, KEY, status=RUNNING)
    for _ in range(20):
        (directory / "status.json").write_text(json.dumps(RUNNING))
        count = len(recorded(store.root, store.state_dir))
        judge = threading.Thread(target=record_lost, args=(store, KEY, "one"))
        judge.start()
        while status_of(directory)["status"] == "running":
            pass
        assert len(recorded(store.root, store.state_dir)) == count + 1
        judge.join(20)


def test_a_run_behind_a_link_out_of_the_root_is_told_by_the_event_alone(store: Store, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", "run", status=RUNNING)
    (store.root / KEY).parent.mkdir(parents=True)
    (store.root / KEY).symlink_to(outside)
    assert record_lost(store, KEY, "one") is not None

    assert [event["type"] for event in recorded(store.root, store.state_dir)] == ["run.lost"]
    assert os.listdir(outside) == ["status.json"]
    assert status_of(outside) == RUNNING


def test_a_run_of_another_boot_that_has_spoken_since_this_one_lives_elsewhere(store: Store) -> None:
    directory = make_run(store.root, KEY, status=RUNNING, events="{}\n")
    meta = Meta(created_at=1.0, pid=os.getpid(), boot_id="another")
    liveness = Liveness(store)
    assert liveness._record([(KEY, "one", meta)]) == []
    assert status_of(directory) == RUNNING
    os.utime(directory / "events.jsonl", (2.0, 2.0))
    assert len(liveness._record([(KEY, "one", meta)])) == 1


def test_a_run_that_is_gone_is_not_recorded(store: Store) -> None:
    assert record_lost(store, KEY, "one") is None


def test_closing_does_not_wait_for_a_check(store: Store) -> None:
    async def close_while_checking() -> None:
        liveness = store.own(Liveness)
        await liveness._mutex.acquire()  # as a check does that waits for the projector
        liveness.check_soon()
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await liveness.close()

    asyncio.run(close_while_checking())


def test_a_run_of_another_root_is_left_alone_and_one_by_another_path_is_not(store: Store, tmp_path: Path) -> None:
    directory = make_run(store.root, KEY, status=RUNNING, meta={"storage_dir": str(tmp_path / "other")})
    assert record_lost(store, KEY, "one") is None
    assert status_of(directory) == RUNNING
    (tmp_path / "link").symlink_to(store.root)
    (directory / "meta.json").write_text(json.dumps({"storage_dir": str(tmp_path / "link")}))
    assert record_lost(store, KEY, "one") is not None


@pytest.mark.slow
def test_a_finish_that_races_with_a_check_always_wins(store: Store, tmp_path: Path) -> None:
    runs: list[Run] = []
    for _ in range(1000):
        run = Run("p", store.root, None, "n", False)
        runs.append(run)
        key = str(run.run_dir.relative_to(store.root))
        both = threading.Barrier(2)

        def check(key: str = key, run_id: str = run.id, both: threading.Barrier = both) -> None:
            both.wait(20)
            record_lost(store, key, run_id)

        judge = threading.Thread(target=check)
        judge.start()
        both.wait(20)
        run.finish()
        judge.join(20)
        assert status_of(run.run_dir)["status"] == "finished"
        run.release()
    projector = InProcess(store.root, tmp_path / "state")
    projector.sweep()
    rows = projector.db.execute("SELECT status, count(*) FROM run GROUP BY status").fetchall()
    projector.close()
    assert rows == [("finished", 1000)]


@pytest.mark.slow(30)
def test_a_killed_training_is_found_without_any_request(serve: Serve) -> None:
    server = serve(None)
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, server.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert trainer.stdout is not None
    run_id = trainer.stdout.readline().decode().strip()
    trainer.kill()
    trainer.communicate()
    wait_until(lambda: status_of(server.root / "p/n/runs" / run_id)["status"] == "failed", timeout_s=FOUND_DEAD_S)


TRAINER = """
import sys
import runicorn as rn
run = rn.init("p", sys.argv[1], None, "n", False)
rn.log(loss=1)
print(run.id, flush=True)
sys.stdin.read()
run.finish()
"""


def test_a_killed_training_is_found_and_recorded_once(serve: Serve) -> None:
    server = serve(None, "--rate-limit", "off")
    trainers = [
        subprocess.Popen([sys.executable, "-c", TRAINER, server.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    ids: list[str] = []
    for trainer in trainers:
        assert trainer.stdout is not None
        ids.append(trainer.stdout.readline().decode().strip())
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 3, "the runs")
    for trainer in trainers[1:]:
        trainer.kill()
        trainer.communicate()
    wait_until(lambda: server.http.post("/api/status/check").json()["checked"] == 1, "the two to be found")
    listed = {run["id"]: run["status"] for run in server.http.get("/api/runs").json()}
    assert listed == {ids[0]: "running", ids[1]: "failed", ids[2]: "failed"}
    trainers[0].communicate()
    wait_until(lambda: server.http.get(f"/api/runs/{ids[0]}").json()["status"] == "finished", "the end of the first")
    server.stop()

    events = recorded(server.root, server.root / ".runicorn" / "state")
    assert sorted(event["run_id"] for event in events if event["type"] == "run.lost") == sorted(ids[1:])
