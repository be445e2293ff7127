"""`runicorn events replay --into`: files to take away, and a store that stays as it is."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import make_run

THEN = 1_700_000_000.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (0, 1):
        about = {"run_id": f"r{number}", "project": "p", "name": "n", "created_at": THEN + 100 * number}
        line = json.dumps({"ts": THEN + 100 * number, "type": "run.created", "data": about}) + "\n"
        make_run(tmp_path / "root", f"p/n/runs/r{number}", events=line)
    return tmp_path / "root"


def replay(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "runicorn", "events", "replay", "--storage", str(root), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def runs_in(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return [run for (run,) in db.execute("SELECT run_id FROM run ORDER BY run_id")]
    finally:
        db.close()


def test_a_directory_gets_a_file_per_plugin_and_the_store_stays_as_it_is(root: Path, tmp_path: Path) -> None:
    before = sorted(root.rglob("*"))
    done = replay(root, "--into", str(tmp_path / "out"), "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["events"], report["plugins"]) == (2, ["artifacts", "runs"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["artifacts.db", "runs.db"]
    assert runs_in(tmp_path / "out" / "runs.db") == ["r0", "r1"]
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(("moment", "runs"), [("2023-11-14T22:13:19Z", []), ("2023-11-14T22:14:00Z", ["r0"])])
def test_as_of_a_time_it_holds_the_runs_of_then(root: Path, tmp_path: Path, moment: str, runs: list[str]) -> None:
    done = replay(root, "--plugin", "runs", "--as-of", moment, "--into", str(tmp_path / "then.db"))

    assert done.returncode == 0, done.stderr
    assert runs_in(tmp_path / "then.db") == runs


def test_one_projection_alone(root: Path, tmp_path: Path) -> None:
    assert replay(root, "--projection", "run_list", "--into", str(tmp_path / "list.db")).returncode == 0
    assert runs_in(tmp_path / "list.db") == ["r0", "r1"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--as-of", "1h"], "--as-of goes with --into"),
        (["--as-of", "yesterday-ish", "--into", "x"], "is no time"),
        (["--into", "x.db"], "every plugin has one of its own"),
        (["--projection", "none"], "No such projection: none"),
        (["--plugin", "none"], "No such plugin: none"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(root: Path, arguments: list[str], reason: str) -> None:
    before = sorted(root.rglob("*"))
    done = replay(root, *arguments)

    assert done.returncode in (1, 2)
    assert reason in done.stderr
    assert sorted(root.rglob("*")) == before


def test_existing_files_and_the_state_directory_are_left_alone(root: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    assert "exists already" in replay(root, "--plugin", "runs", "--into", str(taken)).stderr
    assert taken.read_text() == "mine"
    inside = replay(root, "--into", str(root / ".runicorn" / "state" / "copy"))
    assert "server's own" in inside.stderr
