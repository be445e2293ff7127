"""What scenarios of faults share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.harness import Scene
from tests.faults.small_disk import SmallDisk, small_disk


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A scene on a root in an ordinary place."""
    with Scene(tmp_path) as scene:
        yield scene


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[], SmallDisk]]:
    """Makes a small disk. Ask for it before `stage`: what runs there has to end first."""
    with ExitStack() as disks:
        yield lambda: disks.enter_context(small_disk(tmp_path / "disk"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Makes a scene with a root or a state directory of its own: `stage(root=…, state_dir=…)`."""
    with ExitStack() as scenes:
        yield lambda **places: scenes.enter_context(Scene(tmp_path, **places))
