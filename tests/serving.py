"""A real server in a process of its own, as plugin authors have it, under shorter names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runicorn.testing import Server, wait_until
from runicorn.testing.fixtures import serving

__all__ = ["Server", "serve", "wait_until"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers: `serve(root, *arguments, environment={…})`; `root` None means a new empty one."""
    yield from serving(tmp_path / "root")
