from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.run_commands.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty storage root without a server."""
    place = Place(tmp_path)
    yield place
    place.projector.close()
