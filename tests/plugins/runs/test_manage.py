"""`runicorn manage`, run as a command: what it prints, its exit status, and what a server sees of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import runicorn
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

OLD = 1_600_000_000.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs that were active long ago, and one that runs."""
    root = tmp_path / "root"
    for run_id, status in (("a", "finished"), ("b", "failed"), ("c", "running")):
        directory = make_run(root, f"p/n/runs/{run_id}", meta={"created_at": OLD}, status={"status": status})
        for path in directory.iterdir():
            os.utime(path, (OLD, OLD))
    return root


def manage(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return runicorn("manage", "--storage", root, "--action", *arguments)


def test_tags_are_set_and_found(root: Path) -> None:
    done = manage(root, "tag", "--run-id", "a", "--tags", "x, y,")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Tagged a: True\n", "")
    found = manage(root, "search", "--tags", "y")
    assert (found.returncode, found.stdout) == (0, "Found 1 experiments:\n  - a: p/n [x, y]\n")
    assert manage(root, "search", "--text", "nothing").stdout == "Found 0 experiments:\n"
    (entry,) = json.loads(manage(root, "search", "--tags", "x", "--project", "p", "--json").stdout)["experiments"]
    assert (entry["id"], entry["tags"]) == ("a", ["x", "y"])


def test_an_unknown_run_fails(root: Path) -> None:
    done = manage(root, "tag", "--run-id", "nope", "--tags", "x")
    assert (done.returncode, done.stdout) == (1, "Tagged nope: False\n")
    assert manage(root, "delete", "--run-id", "nope").returncode == 1


def test_delete_is_for_good(root: Path) -> None:
    done = manage(root, "delete", "--run-id", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Deleted: {'a': True}\n", "")
    assert sorted(os.listdir(root / "p/n/runs")) == ["b", "c"]


def test_clean_up_puts_old_runs_into_the_recycle_bin(root: Path) -> None:
    dry = manage(root, "cleanup", "--dry-run")
    assert dry.stdout == "Would delete 2 old experiments:\n  - b\n  - a\n"
    assert json.loads(manage(root, "cleanup", "--dry-run", "--json").stdout)["run_ids"] == ["b", "a"]
    assert manage(root, "cleanup", "--days", "100000").stdout == "Deleted 0 old experiments\n"
    assert manage(root, "cleanup").stdout == "Deleted 2 old experiments\n"
    assert [(root / "p/n/runs" / run_id / ".deleted").exists() for run_id in "abc"] == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "--tags", "x"], "--run-id is required for tagging\n"),
        (["delete"], "--run-id is required for deletion\n"),
        (["tag", "--run-id", "a", "--tags", "x" * 65], "Invalid value for tags: a tag has 1 to 64 characters\n"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(root: Path, arguments: list[str], message: str) -> None:
    done = manage(root, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


def test_bad_arguments_exit_2(root: Path) -> None:
    assert manage(root, "nonsense").returncode == 2
    assert manage(root, "cleanup", "--days", "-1").returncode == 2


def test_a_running_server_shows_it(root: Path, serve: Callable[..., Server]) -> None:
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    manage(root, "tag", "--run-id", "a", "--tags", "x")
    wait_until(lambda: server.http.get("/api/experiments/search?tags=x").json()["experiments"])
    manage(root, "cleanup")
    wait_until(lambda: len(server.http.get("/api/recycle-bin").json()["deleted_runs"]) == 1)
    manage(root, "delete", "--run-id", "b")
    wait_until(lambda: server.http.get("/api/recycle-bin").json()["deleted_runs"] == [])
    wait_until(lambda: {run["id"] for run in server.http.get("/api/runs").json()} == {"a", "c"})


@pytest.mark.parametrize("days", ["nan", "inf", "-1"])
def test_what_is_no_number_of_days_is_named(root: Path, days: str) -> None:
    done = manage(root, "cleanup", "--days", days)
    assert done.returncode == 2
    assert "--days" in done.stderr
    assert "Traceback" not in done.stderr
