"""Storage roots, their state directories, and whether they can be written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn.root import ROOT_FILE, RootUnusable, WritableRoot, check_belongs, prepare
from tests.serving import wait_until


def test_a_state_directory_elsewhere_serves_one_root_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    prepare(tmp_path / "one", state)
    prepare(tmp_path / "one", state)

    with pytest.raises(RootUnusable, match=r"belongs to the storage root .*/one, not to .*/two"):
        prepare(tmp_path / "two", state)
    with pytest.raises(RootUnusable, match="belongs"):
        check_belongs(tmp_path / "two", state)
    check_belongs(tmp_path / "one", state)


def test_another_way_to_the_same_root_is_the_same_root(tmp_path: Path) -> None:
    prepare(tmp_path / "one", tmp_path / "state")
    (tmp_path / "link").symlink_to(tmp_path / "one")

    prepare(tmp_path / "link", tmp_path / "state")


def test_a_root_may_move_with_the_state_below_it(tmp_path: Path) -> None:
    prepare(tmp_path / "one", tmp_path / "one" / ".runicorn" / "state")
    (tmp_path / "one").rename(tmp_path / "two")

    prepare(tmp_path / "two", tmp_path / "two" / ".runicorn" / "state")
    assert not (tmp_path / "two" / ".runicorn" / "state" / ROOT_FILE).exists()


def test_a_damaged_note_of_the_root_is_written_again(tmp_path: Path) -> None:
    prepare(tmp_path / "one", tmp_path / "state")
    (tmp_path / "state" / ROOT_FILE).write_text("{")

    prepare(tmp_path / "one", tmp_path / "state")
    with pytest.raises(RootUnusable, match="belongs"):
        prepare(tmp_path / "two", tmp_path / "state")


class HangingRoot(WritableRoot):
    """A root whose file system does not answer until `answers` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, every_s=0.001, timeout_s=0.001)
        self.answers = threading.Event()
        self.looks = 0

    def look(self) -> bool:
        self.looks += 1
        self.answers.wait(20)
        return super().look()


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.001)


def test_a_file_system_that_does_not_answer_is_asked_once_and_takes_nobodys_thread(tmp_path: Path) -> None:
    async def watch() -> None:
        root = HangingRoot(tmp_path)
        root.is_writable = True
        threads = threading.active_count()
        task = asyncio.create_task(root.watch())
        try:
            await holds(lambda: not root.is_writable)
            for _ in range(50):  # rounds of the watch
                await asyncio.sleep(0.001)
            assert root.looks == 1
            assert threading.active_count() == threads + 1
            root.answers.set()
            await holds(lambda: root.is_writable)
        finally:
            root.answers.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(watch())
    wait_until(lambda: not any(thread.name.startswith("writable-root") for thread in threading.enumerate()))


def test_a_file_where_legacy_runs_would_be_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/runs").write_text("mine")
    prepare(tmp_path / "root", tmp_path / "root/.runicorn/state")
    assert (tmp_path / "root/runs").read_text() == "mine"
