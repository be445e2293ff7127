"""What an import waits for when it is done."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from runicorn.archive import Limits, choose_runs, export_runs, staging_directory
from runicorn.errors import ReadModelBehind
from runicorn.events.log import Stream
from runicorn.store import Store
from runicorn_runs.routes import archive
from tests.projecting import InProcess, runs_host
from tests.stores import make_run


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
    asyncio.run(archive._Imports(store)._until_listed({"p/n/runs/unknown"}, time.monotonic() + 0.5))
    assert 1 <= len(asked) <= 15


def test_an_import_whose_runs_are_not_visible_in_time_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that was told to try again would send the archive again."""
    make_run(tmp_path / "from", "p/n/runs/a", meta={"id": "a"})
    exported = tmp_path / "all.tar.gz"
    with exported.open("wb") as file:
        export_runs(tmp_path / "from", tmp_path / "none", choose_runs(tmp_path / "from"), file)
    root = tmp_path / "root"
    root.mkdir()
    projector = InProcess(root, tmp_path / "state")
    projector.work()
    projector.close()  # and nobody is there to apply what follows
    store = Store(root, tmp_path / "state", runs_host())
    asked: list[Stream] = []

    async def behind(stream: Stream) -> None:
        asked.append(stream)
        await asyncio.sleep(0.1)
        raise ReadModelBehind

    monkeypatch.setattr(store, "until_visible", behind)
    monkeypatch.setattr(archive, "_VISIBLE_S", 0.3)
    with staging_directory(root) as staging:
        imports = archive._Imports(store)
        done = asyncio.run(imports.run(exported, staging, Limits(), overwrite=False))
    assert done.runs == ["p/n/runs/a"]
    assert (root / "p/n/runs/a/meta.json").exists()
    assert len(asked) > 1
