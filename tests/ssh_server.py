"""An SSH server of the test's own: starting one costs a fiftieth of a second, and tests freeze, kill and rekey it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sshd import Sshd, SshdNotFound

__all__ = ["sshd"]


def sshd_or_skip(directory: Path | None = None, **options: Any) -> Sshd:
    """A server that is not started yet. Without OpenSSH the test is skipped, unless `RUNICORN_CI` is set."""
    try:
        return Sshd(directory, **options)
    except SshdNotFound as error:
        if os.environ.get("RUNICORN_CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real server on loopback."""
    with sshd_or_skip(home=tmp_path / "remote-home") as server:
        yield server
