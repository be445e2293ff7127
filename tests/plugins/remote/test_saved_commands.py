"""Saved connections, as a user of the command line has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runicorn.plugin import config_file
from tests.plugins.remote.mirroring import write_run
from tests.sshd import Sshd


@pytest.fixture(autouse=True)
def _home(ssh_directory: Path) -> None:
    """No test reads the configuration of whoever runs it."""


def runicorn(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runicorn", "remote", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


@pytest.mark.slow(2)
def test_a_saved_connection_is_used_by_its_name_until_it_is_removed(sshd: Sshd, tmp_path: Path) -> None:
    address = f"{sshd.username}@{sshd.host}:{sshd.port}"
    added = runicorn("add", "lab", address, "-i", str(sshd.private_key_path))
    assert (added.returncode, added.stdout) == (0, f"lab is saved: {address}\n"), added.stderr
    (saved,) = json.loads(runicorn("list", "--json").stdout)
    assert (saved["name"], saved["port"], saved["auth_method"], saved["has_secret"]) == ("lab", sshd.port, "key", False)
    connected = json.loads(runicorn("connect", "lab", "--json").stdout)
    assert (connected["ok"], connected["host_key"]["sha256"]) == (True, sshd.host_key_fingerprint)
    write_run(tmp_path / "remote")
    status = json.loads(runicorn("status", "lab", str(tmp_path / "remote"), "--json").stdout)
    assert (status["connection_id"], status["has_experiments"], status["artifacts_exists"]) == (address, True, False)
    assert runicorn("remove", "lab").stdout == "lab is forgotten.\n"
    assert json.loads(runicorn("list", "--json").stdout) == []
    assert "No saved connection is named lab" in runicorn("remove", "lab").stderr


def test_a_password_comes_by_the_standard_input_and_is_nowhere_in_plain_text() -> None:
    secret = "correct-horse-battery"
    added = runicorn("add", "lab", "me@gpu.example.org:2222", "--password-stdin", "--json", given=f"{secret}\n")
    assert (added.returncode, json.loads(added.stdout)["has_secret"]) == (0, True), added.stderr
    listed = runicorn("list")
    assert listed.stdout == "lab: me@gpu.example.org:2222, with a secret\n"
    files = [path for path in config_file().parent.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_name_means_one_connection() -> None:
    assert runicorn("add", "lab", "me@a.example.org").returncode == 0
    second = runicorn("add", "lab", "me@b.example.org")
    assert (second.returncode, "name of another connection" in second.stderr) == (1, True)
    assert runicorn("add", "empty", "me@c.example.org", "--password-stdin").returncode == 1
    assert len(json.loads(runicorn("list", "--json").stdout)) == 1
