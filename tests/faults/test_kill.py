"""kill -9 of API, projector and trainers while four trainers log: nothing is lost, nothing doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recorded import wait_until_live
from tests.reference_metrics import metrics_step
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]

Serve = Callable[..., Server]

KILLS = 20
TRAINERS = 4
SCRIPT = Path(__file__).with_name("trainer.py")


class Trainer:
    """One training process; `acknowledged` are the steps for which `log()` has returned."""

    def __init__(self, root: Path, directory: Path, number: int, steps: int | None = None) -> None:
        self._file = directory / f"acknowledged-{number}"
        arguments = [str(root), f"trainer-{number}", str(self._file), *([str(steps)] if steps else [])]
        self.process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.run_id = self.process.stdout.readline().strip()

    @property
    def acknowledged(self) -> list[int]:
        return [int(line) for line in self._file.read_text().splitlines()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., Trainer]]:
    trainers: list[Trainer] = []

    def start(root: Path, steps: int | None = None) -> Trainer:
        trainers.append(Trainer(root, tmp_path, len(trainers), steps))
        return trainers[-1]

    yield start
    for trainer in trainers:
        trainer.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["api", "projector", "trainer"])
def test_nothing_is_lost_or_doubled_when_killed_at_twenty_moments(
    serve: Serve, train: Callable[..., Trainer], tmp_path: Path, victim: str
) -> None:
    moments = random.Random(victim)
    root = tmp_path / "root"
    server = serve(root, "--rate-limit", "off")
    trainers = [train(root) for _ in range(TRAINERS)]
    running = list(trainers)

    for _ in range(KILLS):
        time.sleep(moments.uniform(0.02, 0.3))  # the random moment itself; nothing is waited for
        if victim == "trainer":
            running.pop(0).kill()
            trainers.append(train(root))
            running.append(trainers[-1])
        elif victim == "projector":
            kill_projector(server)
        else:
            server.process.kill()
            server.stop()
            server = serve(root, "--rate-limit", "off")
    for trainer in running:
        trainer.kill()
    finished = train(root, 50)
    finished.process.wait()
    wait_until_live(server)

    # Lists are at most some milliseconds behind; liveness judges the runs that are listed.
    wait_until(lambda: len(statuses(server)) == len(trainers) + 1, "all runs in the list")
    server.http.post("/api/status/check")
    expected = {finished.run_id: "finished", **{trainer.run_id: "failed" for trainer in trainers}}
    wait_until(lambda: statuses(server) == expected, "the right statuses")
    for trainer in [*trainers, finished]:
        check_stream(server, root, trainer)
    before = answers(server)
    server.stop()
    shutil.rmtree(root / ".runicorn" / "state")
    assert answers(serve(root, "--rate-limit", "off")) == before


def statuses(server: Server) -> dict[str, str]:
    return {run["id"]: run["status"] for run in server.http.get("/api/runs").json()}


def check_stream(server: Server, root: Path, trainer: Trainer) -> None:
    (directory,) = root.glob(f"faults/*/runs/{trainer.run_id}")
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    steps = [event["data"]["global_step"] for event in events if event["type"] == "metrics"]
    assert steps == list(range(len(steps)))  # in order, none twice
    assert trainer.acknowledged == steps[: len(trainer.acknowledged)]  # none lost
    for name in ("meta.json", "status.json"):
        assert isinstance(json.loads((directory / name).read_text()), dict)
    served = server.http.get(f"/api/runs/{trainer.run_id}/metrics_step").json()
    assert served == metrics_step(directory / "events.jsonl")


def answers(server: Server) -> dict[str, bytes]:
    wait_until_live(server)
    found = {"/api/runs": server.http.get("/api/runs").content}
    for run in json.loads(found["/api/runs"]):
        for path in ("", "/metrics_step", "/metrics"):
            url = f"/api/runs/{run['id']}{path}"
            found[url] = server.http.get(url).content
    return found


def kill_projector(server: Server) -> None:
    address = server.root / ".runicorn" / "state" / "projector.json"
    before = json.loads(address.read_text())["pid"]
    os.kill(before, signal.SIGKILL)
    assert server.http.get("/api/runs").status_code == 200  # its death takes nothing down
    wait_until(lambda: json.loads(address.read_text())["pid"] != before, "a new projector")
