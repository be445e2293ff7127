"""What an import waits for when it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runicorn.store import Store
from runicorn_runs.routes import archive
from tests.projecting import InProcess, runs_host


def test_an_import_that_waits_for_the_lists_leaves_the_projector_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    projector = InProcess(tmp_path / "root", tmp_path / "state")  # a read model in which the run is not
    projector.work()
    projector.close()
    store = Store(tmp_path / "root", tmp_path / "state", runs_host())
    asked: list[None] = []

    async def discover() -> None:
        asked.append(None)

    monkeypatch.setattr(store, "discover", discover)
    monkeypatch.setattr(archive, "_VISIBLE_S", 0.5)
    asyncio.run(archive._Imports(store)._until_listed({"p/n/runs/unknown"}))
    assert 1 <= len(asked) <= 15
