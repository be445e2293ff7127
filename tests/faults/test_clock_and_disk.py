"""Clocks that jump, a disk that stands still, a slow disk: in the real processes, which are shown a wrong world."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

import pytest

from tests.faults.harness import END_S, Commander, Scene, Trainer, projector_pid
from tests.recorded import wait_until_live
from tests.serving import Server, wait_until

HOUR = 3600.0


def at_work_on_a_disk(scene: Scene) -> tuple[Server, Trainer, Commander]:
    """A live server, a training, and commands about it, whose disk the scene's world decides about."""
    world = scene.world.environment(disk=True)
    server = scene.serve(environment=world)
    wait_until_live(server)
    trainer = scene.train(environment=world)
    return server, trainer, scene.command(server, trainer)


@pytest.mark.slow
def test_clocks_that_jump_lose_no_event_and_no_order(scene: Scene) -> None:
    world = scene.world.environment()
    server = scene.serve(environment=world)
    wait_until_live(server)
    trainer = scene.train(environment=world)
    commander = scene.command(server, trainer)
    for jump in (0.0, HOUR, -24 * HOUR, 300 * 24 * HOUR, -5.0, 0.0):
        scene.world.set_clock(jump)
        done = commander.count(200)
        wait_until(lambda done=done: commander.count(200) >= done + 3, "commands")
        trainer.log_on()
        wait_until_live(server)  # it may be busy for a moment, but it is there
    commander.end()
    trainer.end()
    scene.check(server)

    described = [event for event in scene.store_events() if event["type"] == "run.described"]
    times = [float(str(event["ts"])) for event in described]
    assert all(earlier < later for earlier, later in pairwise(times)), "a later command has an earlier time"
    (shown,) = server.http.get("/api/v2/experiments").json()["experiments"]
    last = [text for text, status in commander.answered.items() if status == 200][-1]
    assert shown["description"] == last  # the last command counts, whatever the clock said


@pytest.mark.slow
def test_while_the_disk_stands_still_the_server_answers_and_nothing_is_lost(scene: Scene) -> None:
    server, trainer, commander = at_work_on_a_disk(scene)
    wait_until(lambda: commander.count(200) >= 3, "commands")

    scene.world.stall(True)
    logged, done = len(trainer.acknowledged), commander.count(200)
    # What stands still is seen by what does not come any more, so each look is a whole answer of the server.
    for _ in range(20):
        assert server.http.get("/api/health").status_code == 200
        assert server.http.get("/api/runs").status_code == 200
    assert server.http.get(f"/api/runs/{trainer.run_id}/metrics_step").status_code == 200
    assert len(trainer.acknowledged) <= logged + 2  # it waits for its disk, as does what it was at
    assert commander.count(200) <= done + 2
    scene.world.stall(False)

    done = commander.count(200)
    wait_until(lambda: commander.count(200) > done + 3, "commands", END_S)
    trainer.log_on()
    commander.end()
    trainer.end()
    scene.check(server)


@pytest.mark.slow
def test_on_a_slow_disk_everything_comes_later_and_nothing_is_lost(scene: Scene) -> None:
    server, trainer, commander = at_work_on_a_disk(scene)

    scene.world.slow_down(0.02)
    done = commander.count(200) + commander.count(503)
    wait_until(lambda: commander.count(200) + commander.count(503) > done + 5, "answers to commands", END_S)
    trainer.log_on()
    assert server.http.get("/api/health").status_code == 200
    scene.world.slow_down(0.0)

    commander.end()
    trainer.end()
    scene.check(server)


@pytest.mark.slow
def test_a_command_that_cannot_be_made_to_last_has_not_happened(scene: Scene) -> None:
    server, trainer, commander = at_work_on_a_disk(scene)
    wait_until(lambda: commander.count(200) >= 3, "commands")

    scene.world.break_fsync(True)
    failed = commander.count(503)
    wait_until(lambda: commander.count(503) >= failed + 3, "refused commands", END_S)
    scene.world.break_fsync(False)
    done = commander.count(200)
    wait_until(lambda: commander.count(200) >= done + 3, "commands")

    commander.end()
    trainer.end()
    scene.check(server)
    described = {event["data"]["description"] for event in scene.store_events() if event["type"] == "run.described"}
    assert described == {text for text, status in commander.answered.items() if status == 200}


@pytest.mark.slow
def test_a_server_that_was_stopped_for_a_while_goes_on_where_it_was(scene: Scene) -> None:
    server = scene.serve()
    wait_until_live(server)
    trainer = scene.train()
    commander = scene.command(server, trainer)
    wait_until(lambda: commander.count(200) >= 3, "commands")
    stopped = projector_pid(server)
    os.kill(stopped, signal.SIGSTOP)
    trainer.log_on(100)
    wait_until(lambda: commander.count(503) >= 1, "a command that is recorded, but not visible", END_S)
    assert server.http.get("/api/runs").status_code == 200
    os.kill(stopped, signal.SIGCONT)
    done = commander.count(200)
    wait_until(lambda: commander.count(200) > done + 3, "commands")
    commander.end()
    trainer.end()
    scene.check(server)
