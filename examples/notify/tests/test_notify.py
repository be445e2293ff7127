"""The plugin in a real server: runs end, metrics rise, receivers fail, processes are killed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from receiver import Receiver

import runicorn
from conftest import SECRET
from runicorn.testing import Server, wait_until


def log_run(root: Path, *losses: float, status: str = "finished") -> str:
    """A run that logs these losses and ends; its id."""
    run = runicorn.init("vision", storage=str(root), capture_env=False)
    for loss in losses:
        run.log({"loss": loss})
    run.finish(status)
    return run.id


def test_ends_of_runs_and_crossed_thresholds_are_told_and_signed(
    configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure()
    finished = log_run(runicorn_server.root, 1.0, 11.0, 5.0, 12.0)
    failed = log_run(runicorn_server.root, 1.0, status="failed")
    wait_until(lambda: len(receiver.received) == 3, "three notifications")

    by_type = {one["type"]: one for one in receiver.notifications}
    assert by_type["run.finished"]["run"].endswith(finished)
    assert by_type["run.failed"]["run"].endswith(failed)
    assert by_type["run.failed"]["data"]["status"] == "failed"
    assert by_type["metric.threshold"]["data"] == {"metric": "loss", "value": 11.0, "step": 2, "above": 10}
    for headers, body in receiver.received:
        moment, _, signature = headers["Runicorn-Signature"].partition(",v1=")
        signed = f"{moment.removeprefix('t=')}.".encode() + body
        assert hmac.compare_digest(signature, hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest())
        assert f'"id":"{headers["Runicorn-Delivery"]}"'.encode() in body


def test_a_receiver_that_fails_is_tried_again_with_the_same_id_and_shown_in_health(
    configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure(attempts=2)
    receiver.answer = lambda number: 503
    log_run(runicorn_server.root)
    wait_until(lambda: "503" in str(runicorn_server.health()["plugins"]["notify"]), "the failure in /api/health")
    assert runicorn_server.health()["plugins"]["notify"]["status"] == "error"
    assert SECRET not in str(runicorn_server.health())
    receiver.answer = lambda number: 200
    wait_until(lambda: runicorn_server.health()["plugins"]["notify"]["status"] == "ok", "its recovery")

    assert len({one["id"] for one in receiver.notifications}) == 1
    assert len(receiver.received) >= 3


def test_what_the_receiver_refuses_is_given_up_and_does_not_hold_up_what_follows(
    configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure()
    receiver.answer = lambda number: 410 if number == 1 else 200
    log_run(runicorn_server.root)
    wait_until(lambda: "is given up" in runicorn_server.log, "the line in the log")
    log_run(runicorn_server.root)
    wait_until(lambda: len(receiver.received) == 2, "the next one")


def test_redirects_are_not_followed(
    configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure(attempts=1)
    receiver.location = receiver.url.replace("/hook", "/elsewhere")
    receiver.answer = lambda number: 307
    log_run(runicorn_server.root)
    wait_until(lambda: "answered 307" in str(runicorn_server.health()["plugins"]["notify"]), "the failure")


def test_an_address_that_is_not_public_is_not_connected_to(
    configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure(allow_networks=["10.0.0.0/8"])
    log_run(runicorn_server.root)
    wait_until(lambda: "not public" in str(runicorn_server.health()["plugins"]["notify"]), "the refusal")
    assert receiver.received == []
    configure()
    wait_until(lambda: len(receiver.received) == 1, "the notification, once it is allowed")


@pytest.mark.parametrize("wrong", [{"url": "ftp://example.com"}, {"secret": "short"}, {"color": "red"}])
def test_settings_that_cannot_be_understood_are_named_and_nothing_is_lost(
    wrong: dict[str, str], configure: Callable[..., None], receiver: Receiver, runicorn_server: Server
) -> None:
    configure(**wrong)
    log_run(runicorn_server.root)
    wait_until(lambda: "notify in config.json" in str(runicorn_server.health()["plugins"]["notify"]), "the reason")
    configure()
    wait_until(lambda: len(receiver.received) == 1, "the notification")


def test_every_end_is_told_at_least_once_whatever_is_killed_when(
    configure: Callable[..., None], receiver: Receiver, runicorn_serve: Callable[..., Server]
) -> None:
    configure()
    server = runicorn_serve(None, "--rate-limit", "off")
    server.wait_until_live()
    expected: set[str] = set()
    for round_number in range(3):
        killed_at = len(receiver.received) + 2

        def answer(number: int, killed_at: int = killed_at, server: Server = server) -> int:
            if number == killed_at:
                kill_projector(server)  # in the middle of a delivery: nobody knows whether it was accepted
            return 200

        receiver.answer = answer
        expected |= {log_run(server.root, 11.0) for _ in range(4)}
        due = frozenset(expected)
        wait_until(lambda due=due: received_runs(receiver, "run.finished") >= due, "all ends", 40)
        assert len(received_runs(receiver, "metric.threshold")) == len(expected), round_number
    counts = {one["id"] for one in receiver.notifications}
    assert len(counts) == 2 * len(expected), "the id of what was sent twice is the same"
    assert len(receiver.received) > len(counts), "something was sent twice: it was killed in the middle"


def test_the_command_sends_a_test(configure: Callable[..., None], receiver: Receiver, runicorn_root: Path) -> None:
    from click.testing import CliRunner

    from runicorn_notify.cli import send_test

    configure()
    assert CliRunner().invoke(send_test).output.startswith("Sent: ")
    assert [one["type"] for one in receiver.notifications] == ["test"]
    configure(allow_networks=[])
    assert "not public" in CliRunner().invoke(send_test).output


def received_runs(receiver: Receiver, kind: str) -> set[str]:
    return {one["run"].rpartition("/")[2] for one in receiver.notifications if one["type"] == kind}


def kill_projector(server: Server) -> None:
    for child in psutil.Process(server.process.pid).children(recursive=True):
        if "runicorn.projection" in child.cmdline():
            child.kill()
            child.wait(10)
