"""The example plugin is complete: installed with pip, it answers over HTTP and is listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.installing import install
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees the plugin."""
    return install("leaderboard", tmp_path / "site")


@pytest.mark.slow(2)
def test_the_example_plugin_works_when_installed_with_pip(
    installed: dict[str, str], serve: Callable[..., Server], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    server = serve(root, environment=installed)
    wait_until_live(server)
    assert server.http.get("/api/health").json()["plugins"]["leaderboard"]["status"] == "ok"
    missing = server.http.get("/api/leaderboard/vision")
    assert (missing.status_code, missing.headers["x-ratelimit-limit"]) == (404, "120")

    train = (
        "import sys, runicorn as rn\n"
        "for best in (0.5, 0.9, 0.7):\n"
        "    with rn.init('vision', sys.argv[1], capture_env=False):\n"
        "        rn.set_primary_metric('accuracy')\n"
        "        rn.log({'accuracy': best})\n"
    )
    subprocess.run([sys.executable, "-c", train, str(root)], check=True)

    def places() -> list[float]:
        answer = server.http.get("/api/leaderboard/vision")
        return [place["best"] for place in answer.json()] if answer.status_code == 200 else []

    wait_until(lambda: places() == [0.9, 0.7, 0.5])
    wait_until(lambda: server.log.count("has finished: see /api/leaderboard") == 3)
    shown = subprocess.run(
        [sys.executable, "-m", "runicorn", "leaderboard", "vision", "--json", "--storage", str(root)],
        env={**os.environ, **installed},
        capture_output=True,
        check=True,
    )
    assert [place["best"] for place in json.loads(shown.stdout)] == [0.9, 0.7, 0.5]
    listed = subprocess.run(
        [sys.executable, "-m", "runicorn", "plugins", "--json"],
        env={**os.environ, **installed},
        capture_output=True,
        check=True,
    )
    (plugin,) = [plugin for plugin in json.loads(listed.stdout) if plugin["name"] == "leaderboard"]
    assert plugin["version"] == "1.0.0"
    assert plugin["state"] == "enabled"
    assert plugin["projections"] == ["leaderboard 1"]
