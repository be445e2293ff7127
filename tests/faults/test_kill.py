"""kill -9 of API, projector, trainers and commands while trainers log: nothing is lost, nothing doubled.

`RUNICORN_FAULT_KILLS=200 RUNICORN_FAULT_RUNS=10000 pytest -m slow tests/faults/test_kill.py` kills more, on a larger store.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.harness import Scene, Trainer, kill_projector
from tests.recorded import wait_until_live
from tests.serving import Server, wait_until
from tests.stores import make_run, metrics_event

KILLS = int(os.environ.get("RUNICORN_FAULT_KILLS", "20"))
RUNS = int(os.environ.get("RUNICORN_FAULT_RUNS", "50"))
TRAINERS = 4
BY_HAND = "tagged by hand"


class Victims:
    """What is killed, again and again, and comes back."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.server = scene.serve()
        self.running = [scene.train() for _ in range(TRAINERS)]
        self.commands: list[tuple[str, int]] = []

    def api(self) -> None:
        self.server.process.kill()
        self.server.stop()
        self.server = self.scene.serve()

    def projector(self) -> None:
        wait_until_live(self.server)
        kill_projector(self.server)

    def trainer(self) -> None:
        self.running.pop(0).kill()
        self.running.append(self.scene.train())

    def cli(self, moment_s: float) -> None:
        """A command that may or may not be killed before it has recorded a tag."""
        tag = f"{BY_HAND} {len(self.commands)}"
        arguments = ["manage", "--storage", str(self.scene.root), "--action", "tag", "--tags", tag]
        command = [sys.executable, "-m", "runicorn", *arguments, "--run-id", self.running[0].run_id]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        process.kill()
        self.commands.append((tag, process.wait()))

    def end(self) -> None:
        for trainer in self.running:
            trainer.kill()


def statuses(server: Server) -> dict[str, str]:
    return {run["id"]: run["status"] for run in server.http.get("/api/runs").json()}


def finished_one(scene: Scene) -> Trainer:
    trainer = scene.train(50)
    trainer.wait()
    return trainer


@pytest.mark.slow(2 * KILLS)
@pytest.mark.timeout(300 + 10 * KILLS)
@pytest.mark.parametrize("victim", ["api", "projector", "trainer", "cli"])
def test_nothing_is_lost_or_doubled_when_killed_at_random_moments(scene: Scene, victim: str) -> None:
    moments = random.Random(victim)
    victims = Victims(scene)
    wait_until_live(victims.server)

    for _ in range(KILLS):
        time.sleep(moments.uniform(0.02, 0.3))  # the random moment itself; nothing is waited for
        if victim == "cli":
            victims.cli(moments.uniform(0.1, 0.7))
        else:
            getattr(victims, victim)()
    victims.end()
    finished = finished_one(scene)
    server = victims.server
    wait_until_live(server)

    # Lists are at most some milliseconds behind; liveness judges the runs that are listed.
    wait_until(lambda: len(statuses(server)) == len(scene.trainers), "all runs in the list")
    server.http.post("/api/status/check")
    expected = {trainer.run_id: "failed" for trainer in scene.trainers} | {finished.run_id: "finished"}
    wait_until(lambda: statuses(server) == expected, "the right statuses")
    scene.check(server)
    check_tags(scene, victims)


def check_tags(scene: Scene, victims: Victims) -> None:
    """A command that said that it was done is in the log once, and its tag stays; one that was killed, once or not at all.

    What was recorded by a command that was killed before it had written the side file, the next one does not see: commands
    without a server know what the side file says.
    """
    acknowledged = {tag for tag, status in victims.commands if status == 0}
    added: list[tuple[str, str]] = []
    tags_of: dict[str, set[str]] = {}
    for event in scene.store_events():
        if event["type"] == "run.tagged" and isinstance(event["data"], dict):
            run, tags = event["data"]["run"], set(event["data"]["tags"])
            before = tags_of.get(run, set())  # a command tags the runs that there are: later ones lack its tag
            assert before & acknowledged <= tags, "a tag is gone"
            added += [(run, tag) for tag in tags - before]
            tags_of[run] = tags
    assert len(added) == len(set(added))
    known = {tag for _, tag in added}
    for tag, status in victims.commands:
        assert status != 0 or tag in known, f"{tag!r} was acknowledged and is lost"


@pytest.mark.slow(25)
@pytest.mark.timeout(300 + 10 * KILLS + RUNS)
def test_a_store_with_many_runs_is_sound_after_random_kills_of_everything(scene: Scene) -> None:
    """Of whatever is there: nothing is wrong with the store in the end, and answers equal a replay."""
    moments = random.Random(RUNS)
    make_runs(scene.root)
    victims = Victims(scene)
    for _ in range(KILLS):
        time.sleep(moments.uniform(0.02, 0.3))
        match moments.choice(["api", "projector", "trainer", "cli"]):
            case "cli":
                victims.cli(moments.uniform(0.1, 0.7))
            case "projector":
                victims.projector()
            case "trainer":
                victims.trainer()
            case _:
                victims.api()
    victims.end()
    scene.verify()
    wait_until_live(victims.server)
    scene.check(victims.server, others=RUNS)
    check_tags(scene, victims)


def make_runs(root: Path) -> None:
    for number in range(RUNS):
        make_run(
            root,
            f"old/n{number % 7}/runs/20200101_000000_{number:06x}",
            events="".join(metrics_event(ts=float(step), global_step=step, loss=1 / step) for step in range(1, 20)),
            meta={"project": "old", "name": f"n{number % 7}", "created_at": float(number + 1)},
            status={"status": "finished", "ended_at": float(number + 2)},
        )
