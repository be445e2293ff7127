"""Races and odd states around whom to trust, and with what: host keys, the strict setting, agents."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from runicorn.plugin import config_file
from runicorn_remote import login
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import HostKeyMismatch
from runicorn_remote.host_keys import HostKeyPolicy, HostKeys, own_file
from tests.plugins.remote.paramiko_server import ParamikoServer


@pytest.fixture(autouse=True)
def home(ssh_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ssh_directory.parent / ".config"))
    return ssh_directory.parent


def test_of_two_first_uses_at_once_the_second_sees_what_the_first_has_stored() -> None:
    one, other = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    first, second, third = (HostKeys("gpu", 22) for _ in range(3))  # each before anything is known
    assert first.check("gpu:22", one, HostKeyPolicy()) is True
    assert second.check("gpu:22", one, HostKeyPolicy()) is False
    with pytest.raises(HostKeyMismatch):
        third.check("gpu:22", other, HostKeyPolicy())
    assert len(own_file().read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "is_strict"),
    [(None, False), ("{}", False), ('{"ssh_strict_host_keys": true}', True), ('{"ssh_strict_host_keys": tr', True)],
)
def test_a_configuration_that_cannot_be_understood_is_no_reason_to_trust(content: str | None, is_strict: bool) -> None:
    if content is not None:
        config_file().parent.mkdir(parents=True)
        config_file().write_text(content)
    assert HostKeyPolicy.configured().strict is is_strict


@pytest.fixture
def silent_agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """An agent that takes questions, and answers none."""
    path = home / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield listener


def test_an_agent_that_does_not_answer_is_done_without(
    silent_agent: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(login, "_AGENT_S", 0.2)
    with ParamikoServer() as server:
        target = Target("127.0.0.1", server.port, "me")
        connection = Connection(target, Credentials(password="correct horse"), HostKeyPolicy())
        assert connection.established.method == "password"
        connection.close()
    assert "the SSH agent does not answer" in caplog.text
    asked, _ = silent_agent.accept()
    asked.close()  # the thread that waits for it ends
    for thread in threading.enumerate():
        if thread.name == "ssh-agent":
            thread.join(10)
            assert not thread.is_alive()
