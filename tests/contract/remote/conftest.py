"""A server of ours with a home of its own, and machines that it is asked to connect to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.remote_entries import PASSWORD, agent_at, leave_all, serving_at_home
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def agent(home: Path) -> Iterator[Path]:
    """The socket of an agent that the server asks; it has no keys."""
    with agent_at(home / "agent"):
        yield home / "agent"


@pytest.fixture(scope="module")
def server(home: Path, agent: Path) -> Iterator[Server]:
    with serving_at_home(home, SSH_AUTH_SOCK=str(agent)) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Nothing is connected before and after a test."""
    yield server.http
    leave_all(server.http)


@pytest.fixture
def machine() -> Iterator[ParamikoServer]:
    """A machine with an ECDSA key that takes a password, and can be looked at."""
    with ParamikoServer(password=PASSWORD, files=LockedFiles) as server:
        yield server


@pytest.fixture
def other() -> Iterator[ParamikoServer]:
    """Another machine like that."""
    with ParamikoServer(password=PASSWORD, files=LockedFiles) as server:
        yield server
