"""Servers for the tests of live logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.runs.logs.log_clients import LogServer


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServer]:
    server = LogServer(tmp_path_factory.mktemp("root"))
    yield server
    assert "Traceback" not in server.stop()


@pytest.fixture
def server(shared_server: LogServer) -> Iterator[LogServer]:
    """A server without a limit, and without runs."""
    yield shared_server
    shared_server.disconnect()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LogServer]:
    """A server that only this test uses."""
    (tmp_path / "root").mkdir()
    server = LogServer(tmp_path / "root")
    yield server
    assert "Traceback" not in server.stop()


@pytest.fixture
def limited_server(tmp_path: Path) -> Iterator[LogServer]:
    """A server that only this test uses, with a limit per client."""
    (tmp_path / "root").mkdir()
    server = LogServer(tmp_path / "root", "--limited")
    yield server
    assert "Traceback" not in server.stop()
