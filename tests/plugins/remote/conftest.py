"""A home directory and an SSH server of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sshd import Sshd


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
def sshd(ssh_directory: Path, sshd: Sshd) -> Sshd:
    """The server that all tests know, and a home directory of the test's own."""
    return sshd
