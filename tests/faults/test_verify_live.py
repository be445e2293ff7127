"""Checking read models against a replay while servers serve and trainers log, and mending them meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.faults.harness import Scene
from tests.recorded import recorded, wait_until_live

__all__ = ["recorded"]

pytestmark = pytest.mark.slow


def verify(root: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run the command as a process; exit status, what was found, what was said."""
    command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(root), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_no_false_difference_while_trainers_log_and_commands_are_given(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        server = scene.serve()
        trainers = [scene.train() for _ in range(2)]
        scene.command(server, trainers[0])
        for _ in range(5):
            before = len(trainers[0].acknowledged)
            status, found, said = verify(scene.root)
            assert (status, found) == (0, []), said
            assert "Read models compared with a replay: artifacts, runs; " in said
            assert len(trainers[0].acknowledged) > before, "nothing was logged meanwhile"
        for trainer in trainers:
            trainer.end()
        scene.check(server)
        server.stop()
        assert verify(scene.root)[0] == 0


def test_a_recorded_store_is_what_a_replay_makes_of_it(recorded: Path, tmp_path: Path) -> None:
    with Scene(tmp_path, root=recorded) as scene:
        wait_until_live(scene.serve())
        status, found, said = verify(recorded)
        assert (status, found) == (0, []), said


def test_wrong_rows_are_mended_while_a_server_serves(recorded: Path, tmp_path: Path) -> None:
    with Scene(tmp_path, root=recorded) as scene:
        server = scene.serve()
        wait_until_live(server)
        right = server.http.get("/api/runs").json()
        [path] = scene.state_dir.glob("runs-*.db")
        db = apsw.Connection(str(path))
        db.set_busy_timeout(10_000)
        db.execute("UPDATE run SET status = 'exploded', changed = changed + 1")
        db.close()

        status, found, _ = verify(recorded)
        assert status == 1
        assert {one["plugin"] for one in found} == {"runs"}
        assert "status='exploded'" in found[-1]["found"] + found[0]["found"]
        status, mended, said = verify(recorded, "--repair")
        assert (status, {one["repaired"] for one in mended}) == (0, {True}), said
        assert verify(recorded)[:2] == (0, [])
        assert server.http.get("/api/runs").json() == right
        assert "Traceback" not in server.log
