"""A switch of the root while workers are killed: all of them serve one root, and it is the one in the configuration."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving import Server, wait_until


def workers(server: Server) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process(server.process.pid).children():
        try:
            if "runicorn.server.worker" in process.cmdline():
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found


def served(client: httpx.Client) -> set[str]:
    """The roots that answers come from; a connection for each, so that any worker may take it."""
    roots: set[str] = set()
    for _ in range(20):
        try:
            roots.add(client.get("/api/config").json()["storage"])
        except httpx.HTTPError:
            roots.add("")
    return roots


@pytest.mark.slow(20)
def test_workers_that_are_killed_during_a_switch_leave_one_root(serve, tmp_path: Path) -> None:
    chance = random.Random(7)
    config = tmp_path / "config" / "runicorn" / "config.json"
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    server = serve(tmp_path / "root", "--rate-limit", "off", "--workers", "3", environment=environment)
    wait_until(lambda: len(workers(server)) == 3, "three workers")
    client = httpx.Client(base_url=server.url, timeout=60, headers={"connection": "close"})
    switched = 0
    for number in range(8):
        root = str(tmp_path / f"root{number}")
        answers: list[int] = []

        def ask(root: str = root, answers: list[int] = answers) -> None:
            try:
                answers.append(client.post("/api/config/user_root_dir", json={"path": root}).status_code)
            except httpx.HTTPError:  # the worker that was asked is the one that was killed
                answers.append(0)

        asking = threading.Thread(target=ask)
        asking.start()
        threading.Event().wait(chance.uniform(0, 0.4))  # any moment of the switch
        running = workers(server)
        if running:
            running[chance.randrange(len(running))].kill()
        asking.join(60)
        assert answers[0] in (0, 200, 503)
        wait_until(lambda: len(workers(server)) == 3, "the worker's successor")
        wait_until(lambda: "" not in served(client), "answers")
        (storage,) = served(client)
        if answers == [200]:
            switched += 1
            assert storage == root
        if config.exists():
            assert json.loads(config.read_text())["user_root_dir"] == storage
    assert switched
    assert server.stop() == 0
