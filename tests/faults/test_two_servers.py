"""Two servers on one root: with one state directory, where the second only reads, and with two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import Scene, answers
from tests.recorded import wait_until_live
from tests.serving import Server, wait_until


def is_level(server: Server) -> bool:
    projector = server.http.get("/api/health").json()["projector"]
    return projector["state"] == "live" and projector["behind_streams"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("shares_state", [True, False])
def test_both_take_commands_and_both_give_the_same_answers(scene: Scene, tmp_path: Path, shares_state: bool) -> None:
    first = scene.serve()
    wait_until_live(first)
    second = scene.serve(*(() if shares_state else ("--state-dir", str(tmp_path / "second"))))
    wait_until_live(second)
    trainers = [scene.train(), scene.train()]
    commanders = [scene.command(server, trainers[0]) for server in (first, second)]
    for commander in commanders:
        wait_until(lambda commander=commander: commander.count(200) >= 10, "commands")
    for one in commanders:
        one.end()
    for trainer in trainers:
        trainer.end()
    wait_until(lambda: is_level(second), "the second is level")
    served = scene.check(first)
    wait_until(lambda: answers(second) == served, "the same answers of both")


@pytest.mark.slow
def test_the_second_takes_over_when_the_first_is_killed(scene: Scene) -> None:
    first, second = scene.serve(), scene.serve()
    wait_until_live(second)
    trainer = scene.train()
    commanders = [scene.command(server, trainer) for server in (first, second)]
    wait_until(lambda: all(commander.count(200) >= 3 for commander in commanders), "commands")
    first.process.kill()
    first.stop()
    commanders[0].end()
    wait_until(lambda: not second.http.get("/api/health").json()["projector"]["elsewhere"], "the take-over")
    done = commanders[1].count(200)
    wait_until(lambda: commanders[1].count(200) > done + 3, "commands to the second")
    commanders[1].end()
    trainer.end()
    scene.check(second)
