"""Pytest fixtures for plugins. A `conftest.py` asks for them: `pytest_plugins = ["runicorn.testing.fixtures"]`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from runicorn.config import user_config_dir
from runicorn.testing.configuration import isolated_environment
from runicorn.testing.server import Server


@pytest.fixture
def runicorn_config_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a user's configuration that is empty: of this process, and of servers that it starts."""
    isolated = isolated_environment(tmp_path_factory.mktemp("config"))
    for name in set(os.environ).difference(isolated):
        monkeypatch.delenv(name)
    for name, value in isolated.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    directory = user_config_dir()
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def runicorn_root(tmp_path: Path) -> Path:
    """A storage root that does not exist yet: the server makes it, and so does `runicorn.init(storage=…)`."""
    return tmp_path / "root"


@pytest.fixture
def runicorn_serve(runicorn_root: Path, runicorn_config_dir: Path) -> Generator[Callable[..., Server]]:
    """Start servers: `runicorn_serve(root, *arguments, environment={…})`; `root` None means `runicorn_root`."""
    yield from serving(runicorn_root)


@pytest.fixture
def runicorn_server(runicorn_serve: Callable[..., Server]) -> Server:
    """A server on `runicorn_root`, with all plugins of this environment and without rate limits."""
    server = runicorn_serve(None, "--rate-limit", "off")
    server.wait_until_live()
    return server


def serving(default_root: Path) -> Generator[Callable[..., Server]]:
    """The body of `runicorn_serve`: yields the function, then stops all that it has started."""
    servers: list[Server] = []

    def start(root: Path | None = None, *arguments: str, environment: Mapping[str, str] | None = None) -> Server:
        server = Server(root or default_root, *arguments, environment=environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(signal.SIGKILL if server.process.poll() is None and sys.exc_info()[0] else signal.SIGTERM)
