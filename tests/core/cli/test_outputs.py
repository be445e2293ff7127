"""Commands whose output goes nowhere, or to a disk that is full: an error in one line, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import make_run, metrics_event

COMMANDS = {"runs": ["runs"], "tail": ["events", "tail"], "json": ["runs", "--json"], "stats": ["events", "stats"]}


def run(root: Path, command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "runicorn", *COMMANDS[command], "--storage", str(root)]
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *arguments]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path / "root", "p/n/runs/a", meta={"id": "a"}, events=metrics_event(1.0, loss=0.5))
    return tmp_path / "root"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_no_error(root: Path, command: str) -> None:
    done = run(root, command, ">&-")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_named(root: Path, command: str) -> None:
    done = run(root, command, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith("No space left on device\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_enough_is_no_error(root: Path, command: str) -> None:
    done = run(root, command, "| true")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
