"""Commands for run ids, beside a real projector: resolved, carried out, and visible when they return."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from runicorn.run_commands.ids import InvalidRunId, check_run_ids
from runicorn.run_commands.on_store import empty_recycle_bin, purge, restore, soft_delete
from runicorn.store import Store
from tests.projecting import runs_host
from tests.projector_process import RunningProjector
from tests.stores import make_run

T = TypeVar("T")
GENERATED = "20250114_153045_a1b2c3"


class Opened:
    """A root with a projector process; `ask` gives a store to an async function."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        self._state = directory / "state"
        self._state.mkdir()
        self.projector = RunningProjector(self.root, self._state)

    def ask(self, function: Callable[[Store], Awaitable[T]]) -> T:
        async def inside() -> T:
            async with Store(self.root, self._state, runs_host()) as store:
                return await function(store)

        self.projector.wait_until(self.projector.is_live)
        return asyncio.run(inside())


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(tmp_path)
    yield opened
    opened.projector.kill()


def listed(store: Store) -> list[str]:
    rows = store.model("runs").query(lambda db: db.execute("SELECT key FROM run WHERE listed ORDER BY key").fetchall())
    return [str(key) for (key,) in rows]


def test_ids_are_distinct_in_the_order_of_the_request_and_malformed_ones_refused(opened: Opened) -> None:
    make_run(opened.root, "p/n/runs/custom")

    async def check(store: Store) -> None:
        assert await check_run_ids(store, [GENERATED, "custom", GENERATED]) == [GENERATED, "custom"]
        for bad, shown in [("x", "x"), (GENERATED + "\n", GENERATED), (5, "5"), (["a"], '["a"]'), (None, "null")]:
            with pytest.raises(InvalidRunId) as raised:
                await check_run_ids(store, [GENERATED, bad, 7])
            assert str(raised.value) == (f"Invalid run_id format: {shown}. Expected format: YYYYMMDD_HHMMSS_XXXXXX")

    opened.ask(check)


def test_of_several_runs_with_one_id_the_first_that_a_command_can_be_about_is_meant(opened: Opened) -> None:
    keys = ["a/n/runs/x", "b/n/runs/x", "runs/x"]
    for key in keys:
        make_run(opened.root, key, meta={"created_at": 1.0})

    async def check(store: Store) -> None:
        for left in (keys[1:], keys[2:], []):
            assert await soft_delete(store, ["x", "unknown"]) == {"x": None, "unknown": "run not found"}
            assert listed(store) == left
        assert await soft_delete(store, ["x"]) == {"x": "run not found"}
        for back in (keys[:1], keys[:2], keys):
            assert await restore(store, ["x", "unknown"]) == {"x": None, "unknown": "run not found"}
            assert listed(store) == back
        assert await restore(store, ["x"]) == {"x": "run not deleted"}
        assert (await purge(store, ["x", "unknown"]))[0] == {"x": None, "unknown": "run not found"}
        assert listed(store) == keys[1:]

    opened.ask(check)


def test_a_thousand_runs_are_one_append(opened: Opened) -> None:
    ids = [f"{number:04}" for number in range(1000)]
    for run_id in ids:
        make_run(opened.root, f"p/n/runs/{run_id}", meta={"created_at": 1.0})

    async def check(store: Store) -> None:
        assert await soft_delete(store, ids) == dict.fromkeys(ids)
        assert listed(store) == []
        gone, kept, freed = await empty_recycle_bin(store)
        assert (sorted(gone), kept) == (ids, [])
        assert freed > 0

    opened.ask(check)
    assert list((opened.root / "p/n/runs").iterdir()) == []
    (segment,) = (opened.root / ".runicorn/log").glob("*.jsonl")
    deletions = [line[:30] for line in segment.read_bytes().splitlines() if b'"run.deleted"' in line]
    assert len(deletions) == 1000
    assert len({line.partition(b",")[0] for line in deletions}) == 1


def test_a_run_made_a_moment_ago_can_be_deleted(opened: Opened) -> None:
    async def check(store: Store) -> None:
        make_run(opened.root, "p/n/runs/new", meta={"created_at": 1.0})
        assert await soft_delete(store, await check_run_ids(store, ["new"])) == {"new": None}

    opened.ask(check)
