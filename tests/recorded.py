"""A store recorded by Runicorn 0.4.0: 31 runs with real training curves, two of them crashed, and artifacts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.serving import Server, wait_until

ARCHIVE = Path(__file__).parent / "data" / "recorded-0.4.tar.gz"
RUNS = 31


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The recorded store, unpacked."""
    return unpacked(tmp_path)


def unpacked(directory: Path) -> Path:
    """The root of the recorded store, unpacked into a directory."""
    root = directory / "recorded"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return root


def wait_until_live(server: Server) -> None:
    """Return once the server's read models are level with the log."""
    wait_until(lambda: server.http.get("/api/health").json()["projector"]["state"] == "live", "the first build")


def run_directories(root: Path) -> list[Path]:
    """All run directories of the usual layout."""
    return sorted(path for path in root.glob("*/*/runs/*") if path.is_dir() and not path.parts[-4].startswith("."))
