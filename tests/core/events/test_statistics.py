"""Counts of a log are those of its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.stores import make_run


def run_stats(root: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "runicorn", "events", "stats", "--json", "--storage", str(root), *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def line(ts: Any, kind: str, size: int = 0) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": {"x": "y" * size}}) + "\n"


def test_events_and_bytes_are_counted_by_type_and_by_stream(tmp_path: Path) -> None:
    long = line(100.0, "run.created") + line(200.0, "metrics", 50) + "garbage\n" + line(None, "metrics") + '{"ts": 3'
    short = line(86_400.0 * 3, "metrics")
    make_run(tmp_path, "p/n/runs/a", events=long)
    make_run(tmp_path, "p/n/runs/b", events=short)
    found = run_stats(tmp_path, "--largest", "1")
    whole_lines = len(long) - len('{"ts": 3')
    assert (found["streams"], found["events"], found["bytes"], found["bad"]) == (2, 4, whole_lines + len(short), 1)
    assert {counted["name"]: counted["events"] for counted in found["types"]} == {"run.created": 1, "metrics": 3}
    assert sum(counted["bytes"] for counted in found["types"]) == found["bytes"]
    assert found["largest"] == [{"name": "p/n/runs/a", "events": 3, "bytes": whole_lines}]
    assert (found["first"], found["last"]) == (100.0, 86_400.0 * 3)
    assert run_stats(tmp_path, "--run", "b")["events"] == 1


def test_an_empty_log_has_no_times(tmp_path: Path) -> None:
    found = run_stats(tmp_path)
    assert (found["events"], found["first"], found["types"]) == (0, None, [])


def test_a_stream_without_any_event_is_counted(tmp_path: Path) -> None:
    make_run(tmp_path, "p/n/runs/a", events="{bad\n")
    make_run(tmp_path, "p/n/runs/b", events=line(1.0, "metrics"))
    found = run_stats(tmp_path)
    assert (found["streams"], found["events"], found["bad"]) == (2, 1, 1)


def test_tail_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    make_run(tmp_path, "p/n/runs/a", events=line(100.0, "run.created") + line(200.0, "metrics"))
    command = [sys.executable, "-m", "runicorn", "events", "tail", "--json", "--storage", str(tmp_path)]
    since = [*command, "--since", "1970-01-01T00:02:30Z"]
    done = subprocess.run(since, capture_output=True, text=True, check=True)
    assert [json.loads(text)["type"] for text in done.stdout.splitlines()] == ["metrics"]
    refused = subprocess.run([*command, "--since", "soon"], capture_output=True, text=True, check=False)
    assert (refused.returncode, "ISO 8601" in refused.stderr) == (1, True)
