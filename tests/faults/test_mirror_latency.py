"""What a mirror promises about time: lines of other machines are here soon, whatever else it brings, and it ends at once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.store import Shape, write_store
from tests.contract.test_remote import login, ok
from tests.contract.test_remote_mirror import brought, is_level, mirror, only, sshd
from tests.plugins.remote.mirroring import RUN, mirrored, write_run
from tests.promises import MIRROR_ENDED_S, followed_s
from tests.serving import Server, serve, wait_until
from tests.sshd import Sshd

__all__ = ["serve", "sshd"]

RUN_ID = RUN.rpartition("/")[2]
INTERVAL_S = 1.0
LINES = 6
OTHER_RUNS = 2000
GIB = 1 << 30


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    return serve(tmp_path / "here", "--rate-limit", "off", environment=environment)


@contextmanager
def hearing(server: Server) -> Iterator[dict[str, float]]:
    """The lines of a run's log as they come over the WebSocket, with the time of each."""
    at: dict[str, float] = {}
    with connect(f"{server.url.replace('http', 'ws')}/api/runs/{RUN_ID}/logs/ws") as socket:

        def listen() -> None:
            for frame in socket:
                for line in str(frame).splitlines():
                    at.setdefault(line, time.monotonic())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield at
        finally:
            socket.close()
            thread.join()


def steps(http: httpx.Client) -> set[Any]:
    return {row["global_step"] for row in ok(http.get(f"/api/runs/{RUN_ID}/metrics_step"))["rows"]}


def delays(http: httpx.Client, run: Path, heard: dict[str, float], first: int) -> list[float]:
    """How long some lines of events and logs took from the other machine's file to the answers of this server."""
    found: list[float] = []
    for step in range(first, first + LINES):
        line = f"line of step {step}"
        data = {"ts": time.time(), "type": "metrics", "data": {"loss": 0.5, "global_step": step}}
        with (run / "events.jsonl").open("a") as events, (run / "logs.txt").open("a") as log:
            events.write(json.dumps(data) + "\n")
            log.write(line + "\n")
        written = time.monotonic()
        wait_until(lambda step=step: step in steps(http), f"step {step}", timeout_s=60)
        found.append(time.monotonic() - written)
        wait_until(lambda line=line: line in heard, line, timeout_s=60)
        found.append(heard[line] - written)
    return found


@pytest.mark.slow(30)
def test_lines_arrive_in_time_beside_two_thousand_runs_and_a_large_artifact_whose_copy_ends_at_once(
    server: Server, sshd: Sshd, tmp_path: Path
) -> None:
    there, here, http = tmp_path / "there", tmp_path / "here", server.http
    for _ in write_store(there, Shape(runs=OTHER_RUNS, events=2, metrics=1, writer="0.4.0")):
        pass
    run = write_run(there, status="running", hostname="elsewhere", pid=1)
    task = mirror(http, there, login(sshd), interval=INTERVAL_S)
    wait_until(lambda: is_level(http), f"{only(http)}", timeout_s=180)
    wait_until(lambda: RUN_ID in [item["id"] for item in ok(http.get("/api/runs"))], timeout_s=120)
    server.wait_until_live()
    with hearing(server) as heard:
        beside_runs = delays(http, run, heard, first=100)
    assert max(beside_runs) < followed_s(INTERVAL_S), beside_runs
    assert only(http)["lag_s"] < followed_s(INTERVAL_S)

    large = there / "artifacts/model/big/v1/files/w.bin"
    large.parent.mkdir(parents=True)
    large.touch()
    os.truncate(large, GIB)
    part = here / "artifacts/model/big/v1/files"
    wait_until(lambda: list(part.glob(".*.part")), "the copy to begin", timeout_s=120)
    with hearing(server) as heard:
        beside_copy = delays(http, run, heard, first=200)
    assert max(beside_copy) < followed_s(INTERVAL_S), beside_copy

    assert list(part.glob(".*.part")), "the copy has ended too soon to show anything"
    report = only(http)
    assert report["waiting_files"] >= 1
    assert report["lag_s"] < followed_s(INTERVAL_S)
    began = time.monotonic()
    assert ok(http.post("/api/ssh/mirror/stop", json={"task_id": task["id"]})) == {"ok": True}
    assert time.monotonic() - began < MIRROR_ENDED_S
    after = mirrored(here)
    assert not list(here.rglob("*.part"))
    with (run / "logs.txt").open("a") as log:
        log.write("after the end\n")
    time.sleep(2 * INTERVAL_S)  # a task that goes on looks meanwhile
    assert mirrored(here) == after


TRAINING = """
import sys, time
from pathlib import Path
import runicorn as rn
run = rn.init("vision", storage=sys.argv[1], name="live", capture_env=False)
print(run.run_dir, flush=True)
step = 0
while not Path(sys.argv[1], "enough").exists():
    step += 1
    rn.log({"loss": 1 / (step + 1)}, step=step)
    if step % 10 == 0:
        rn.log_text(f"step {step}")
        rn.summary({"last": step})
    time.sleep(0.02)
rn.finish()
"""


@pytest.fixture
def json_watcher(server: Server) -> Iterator[list[str]]:
    """Reads every JSON file of the mirror over and over; collects those that did not parse."""
    broken: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            for path in server.root.glob("*/*/runs/*/*.json"):
                try:
                    json.loads(path.read_bytes())
                except ValueError:
                    broken.append(path.name)
                except FileNotFoundError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    yield broken
    stop.set()
    thread.join()


def last_step(run: Path) -> int:
    """The newest step that a training has logged."""
    for text in reversed((run / "events.jsonl").read_bytes().splitlines()[:-1]):
        event = json.loads(text)
        if event["type"] == "metrics":
            return int(event["data"]["global_step"])
    return -1


@pytest.mark.slow(20)
def test_a_live_run_survives_kills_and_freezes_of_the_connection(
    server: Server, sshd: Sshd, tmp_path: Path, json_watcher: list[str]
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    there, here, http = tmp_path / "there", tmp_path / "here", server.http
    there.mkdir()
    mirror(http, there, login(sshd), interval=0.5)
    with subprocess.Popen([sys.executable, "-c", TRAINING, str(there)], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        run = Path(trainer.stdout.readline().strip())

        def newest() -> int:
            rows = http.get(f"/api/runs/{run.name}/metrics_step")
            return -1 if rows.status_code == 404 else max((row["global_step"] for row in ok(rows)["rows"]), default=-1)

        def is_connected() -> bool:
            return only(http)["state"] == "watching" and only(http)["lag_s"] < followed_s(0.5)

        try:
            wait_until(lambda: newest() > 0, f"the run is here: {only(http)}", timeout_s=60)
            for _ in range(10):
                time.sleep(chance.uniform(0, 1))  # the random moment itself
                if chance.random() < 0.5:
                    sshd.kill()
                    time.sleep(chance.uniform(0, 0.5))
                    sshd.start()
                    wait_until(lambda: only(http)["state"] == "watching", f"{only(http)} (seed {seed})", timeout_s=60)
                else:
                    sshd.freeze()
                    time.sleep(chance.uniform(0.2, 3))
                    sshd.thaw()
                wait_until(is_connected, f"{only(http)} (seed {seed})", timeout_s=60)
                step, began = last_step(run), time.monotonic()
                wait_until(lambda step=step: newest() >= step, f"step {step} (seed {seed})", timeout_s=60)
                assert time.monotonic() - began < followed_s(0.5), f"seed {seed}"
        finally:
            (there / "enough").touch()
        assert trainer.wait(120) == 0
    wait_until(lambda: brought(here) == brought(there), f"equal trees (seed {seed})", timeout_s=90)
    lines = (here / run.relative_to(there) / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == len(set(lines))
    assert json_watcher == []
    assert only(http)["stats"]["failed_files"] == 0
