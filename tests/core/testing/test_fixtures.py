"""What plugin authors test with: a server of their own, nothing of the user's, and waiting that is exact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import runicorn
from runicorn.config import config_file
from runicorn.testing import Server, isolated_environment
from runicorn.testing.fixtures import runicorn_config_dir, runicorn_root, runicorn_serve, runicorn_server

__all__ = ["runicorn_config_dir", "runicorn_root", "runicorn_serve", "runicorn_server"]


def log_run(root: Path, project: str = "vision", values: int = 1) -> None:
    with runicorn.init(project, storage=str(root), capture_env=False) as run:
        for value in range(values):
            run.log({"loss": value})


def test_what_was_logged_before_the_call_is_visible_after_it(runicorn_server: Server) -> None:
    for count in range(1, 4):
        log_run(runicorn_server.root)
        runicorn_server.wait_until_visible()
        assert len(runicorn_server.http.get("/api/runs").json()) == count


def test_an_open_run_is_visible_up_to_its_last_line(runicorn_server: Server) -> None:
    run = runicorn.init("vision", storage=str(runicorn_server.root), capture_env=False)
    try:
        run.log({"loss": 0.5})
        runicorn_server.wait_until_visible()
        answer = runicorn_server.http.get(f"/api/runs/{run.id}/metrics").json()
        assert [row["loss"] for row in answer["rows"]] == [0.5]
    finally:
        run.finish()


def test_nothing_of_the_users_configuration_is_read(
    runicorn_config_dir: Path, runicorn_server: Server, tmp_path: Path
) -> None:
    assert config_file() == runicorn_config_dir / "config.json"
    assert runicorn_server.http.get("/api/config").json()["config_file"] == str(runicorn_config_dir / "config.json")
    isolated = isolated_environment(tmp_path, {"RUNICORN_DIR": "/mine", "PATH": "/bin"})
    assert "RUNICORN_DIR" not in isolated
    assert isolated["PATH"] == "/bin"


def test_commands_see_the_servers_store(runicorn_server: Server) -> None:
    log_run(runicorn_server.root)

    assert "vision" in runicorn_server.command("runs", "--json")
    with pytest.raises(AssertionError, match="runicorn nonsense failed"):
        runicorn_server.command("nonsense")


def test_a_server_that_does_not_start_says_what_it_wrote(runicorn_root: Path) -> None:
    with pytest.raises(AssertionError, match="No such plugin: nonesuch"):
        Server(runicorn_root, "--plugins", "nonesuch")


def test_a_server_in_a_with_block_ends_with_it(runicorn_root: Path) -> None:
    with Server(runicorn_root, environment={"RUNICORN_WITHOUT": "remote"}) as server:
        assert server.health()["plugins"]["remote"]["status"] == "disabled"
    assert server.process.returncode == 0
    with pytest.raises(ZeroDivisionError), Server(runicorn_root) as server:
        raise ZeroDivisionError
    assert server.process.returncode == -signal.SIGKILL


def test_importing_it_needs_neither_pytest_nor_httpx_and_pytest_does_not_load_it_by_itself(tmp_path: Path) -> None:
    code = "import sys, runicorn.testing; print([name for name in ('pytest', 'httpx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_it():\n    assert 'runicorn' not in sys.modules, 'the tests of others are left alone'\n"
    )
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(pytest_run, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
