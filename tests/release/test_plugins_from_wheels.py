"""Runicorn and plugins of others from their wheels, on a clean machine: installed, used, uninstalled without a trace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.release.building import TOP, build

PLUGINS = ("runicorn-leaderboard", "runicorn-notify", "runicorn-endings")
DRIVER = Path(__file__).with_name("drive_plugins.py")


class Machine:
    """A virtual environment; packages that Runicorn needs are those that are here, so nothing is downloaded."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        venv.create(directory / "venv", with_pip=False)
        self.python = directory / "venv" / "bin" / "python"
        where = subprocess.run(
            [self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.packages = Path(where.stdout.strip())
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.root = directory / "runs"
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(directory / "config"), "RUNICORN_DIR": str(self.root)}

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--quiet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        assert done.returncode == 0, done.stderr

    def runicorn(self, *arguments: str) -> str:
        command = [self.python.with_name("runicorn"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def drive(self, aspect: str, root: Path | None = None) -> Any:
        command = [self.python, str(DRIVER), aspect, str(root or self.root)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.directory, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def installed(self) -> set[str]:
        return {str(path.relative_to(self.packages)) for path in self.packages.rglob("*") if path.suffix != ".pyc"}


@pytest.mark.slow(20)
@pytest.mark.timeout(400)
def test_plugins_are_installed_used_and_removed_without_a_trace(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    wheel, _ = build(TOP, tmp_path)
    machine.pip("install", "--no-index", str(wheel))  # with its dependencies, which are found to be there
    where = subprocess.run(
        [machine.python, "-W", "error", "-c", "import runicorn; print(runicorn.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(where.stdout.strip()) == machine.packages / "runicorn" / "__init__.py"
    assert where.stderr == ""
    assert (machine.packages / "runicorn" / "py.typed").exists()
    machine.runicorn("plugins", "new", "endings", "--into", str(tmp_path))
    projects = (TOP / "examples" / "leaderboard", TOP / "examples" / "notify", tmp_path / "runicorn-endings")
    wheels = [build(project, tmp_path)[0] for project in projects]

    machine.drive("train")
    before = machine.drive("ask")
    files = machine.installed()
    machine.pip("install", "--no-index", *map(str, wheels))
    during = machine.drive("ask")
    assert {path for path in before if before[path] != during[path]} == {"/openapi.json"}
    assert "/api/endings" in during["/openapi.json"]
    seen = machine.drive("plugins")
    assert {seen["states"][name] for name in ("leaderboard", "notify", "endings")} == {"ok"}
    assert seen["leaderboard"] == [0.9, 0.9, 0.7, 0.7, 0.5, 0.5]
    assert [place["best"] for place in seen["leaderboard on the command line"]] == seen["leaderboard"]
    assert seen["endings"] == seen["endings on the command line"]
    assert seen["endings"] == [{"project": "vision", "status": "finished", "runs": 6}]
    assert seen["webhook on the command line"].startswith("Sent: ")
    assert [kind for kind in seen["webhooks"] if kind != "run.finished"] == ["test"]
    for plugin in ("leaderboard", "notify", "endings"):
        assert any(name.startswith(plugin) for name in seen["files"])

    machine.pip("uninstall", "--yes", *PLUGINS)
    assert machine.installed() == files
    assert {plugin["name"] for plugin in json.loads(machine.runicorn("plugins", "--json"))} == {
        *("runs", "artifacts", "remote", "query", "system")
    }
    after = machine.drive("ask")
    cleaned = json.loads(machine.runicorn("plugins", "clean", "--json"))
    assert [left["plugin"] for left in cleaned["plugins"]] == ["endings", "leaderboard", "notify"]
    assert cleaned["bytes"] > 0
    left = [str(path) for path in machine.root.rglob("*")]
    assert not [path for path in left if any(name in path for name in ("endings", "leaderboard", "notify"))]
    assert machine.drive("ask") == after
    assert after["/openapi.json"] == before["/openapi.json"]

    # As in a store whose read models never met them: the log alone decides.
    shutil.rmtree(machine.root / ".runicorn" / "state")
    assert machine.drive("ask") == after
