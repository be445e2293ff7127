"""Temporary directories of killed processes are removed by the next one; those of living ones are left alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runicorn.temporary import temporary_directory

HOLD = """
import sys
from runicorn.temporary import temporary_directory
with temporary_directory("kind") as directory:
    (directory / "large").write_bytes(b"x")
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, in this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next() -> None:
    with holder() as (process, left):
        process.kill()
        process.wait()
    assert (left / "large").exists()
    with temporary_directory("other"):
        assert left.exists(), "another kind is not its matter"
    with temporary_directory("kind") as ours:
        assert not left.exists()
        assert ours.is_dir()
    assert not ours.exists()


def test_what_a_living_process_uses_stays() -> None:
    with holder() as (_, used), temporary_directory("kind"):
        assert (used / "large").exists()


def test_what_cannot_be_told_is_left_alone(place: Path) -> None:
    (place / "runicorn-kind-unknown").mkdir()
    (place / "runicorn-kind-file").touch()
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "in-use").touch()
    (place / "runicorn-kind-link").symlink_to(place / "elsewhere")
    with temporary_directory("kind"):
        pass
    assert {path.name for path in place.iterdir()} == {
        *("runicorn-kind-unknown", "runicorn-kind-file", "runicorn-kind-link", "elsewhere")
    }
    assert (place / "elsewhere" / "in-use").exists()
