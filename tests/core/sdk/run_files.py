"""Reading a run's files with the standard library alone, as an independent reader would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    """Every event, each line parsed strictly by itself; the file ends in a newline."""
    text = (run_dir / "events.jsonl").read_bytes()
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def data_of(run_dir: Path, kind: str = "metrics") -> list[dict[str, Any]]:
    """The payloads of one type of event."""
    return [event["data"] for event in events_of(run_dir) if event["type"] == kind]


def types_of(run_dir: Path) -> list[str]:
    """The types of the events, in file order."""
    return [event["type"] for event in events_of(run_dir)]


def json_of(path: Path) -> dict[str, Any]:
    """A JSON file that must be there."""
    return json.loads(path.read_text())


def only_run_in(root: Path) -> Path:
    """The directory of the only run below `root`."""
    (run_dir,) = root.glob("*/*/runs/*")
    return run_dir


def start_python(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A training script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    process = start_python(code, *arguments, **environment)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
