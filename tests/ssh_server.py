"""An SSH server of the test's own: starting one costs a fiftieth of a second, and tests freeze, kill and rekey it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sshd import Sshd, SshdNotFound

__all__ = ["sshd"]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real server on loopback. Without one, tests are skipped, unless `RUNICORN_CI` is set."""
    try:
        server = Sshd(home=tmp_path / "remote-home")
    except SshdNotFound as error:
        if os.environ.get("RUNICORN_CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server
