"""A home directory and an SSH server of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sshd import Sshd, SshdNotFound


@pytest.fixture
def ssh_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`~/.ssh` of an empty home directory, without an agent."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home / ".ssh"


@pytest.fixture
def write_config(ssh_directory: Path) -> Callable[[str], None]:
    """Write `~/.ssh/config`."""

    def write(text: str) -> None:
        (ssh_directory / "config").write_text(text)

    return write


@pytest.fixture
def sshd(tmp_path: Path, ssh_directory: Path) -> Iterator[Sshd]:
    """A real server on loopback. Without one, tests are skipped, unless `RUNICORN_CI` is set."""
    try:
        server = Sshd(home=tmp_path / "remote-home")
    except SshdNotFound as error:
        if os.environ.get("RUNICORN_CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server
