"""Runs for tests: below a temporary root, and without capturing the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runicorn.sdk import active
from runicorn.sdk.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A storage root that does not exist yet."""
    return tmp_path / "root"


@pytest.fixture
def make_run(root: Path) -> Iterator[MakeRun]:
    """`make_run(run_id=None, **more)` makes a run; those that a test leaves open are released."""
    made: list[Run] = []

    def make(run_id: str | None = None, **more: object) -> Run:
        made.append(Run(**{"project": "p", "storage": root, "run_id": run_id, "capture_env": False, **more}))  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        return made[-1]

    yield make
    for run in made:
        run.finish()
        run.release()


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """A run that has just begun."""
    return make_run()


@pytest.fixture
def _no_active_run() -> Iterator[None]:
    """No active run before and after."""
    active._active = None
    yield
    active._active = None
