"""Positions of streams on file systems that do and do not answer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from runicorn.events.log import FileLog, Position, Stream
from runicorn.events.positions import Positions
from tests.stores import make_run, metrics_event

RUN = Stream("run", "p/n/runs/20260101_000000_000001")


class HangingLog(FileLog):
    """A log on a file system that does not answer until `answers` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, root / "state")
        self.answers = threading.Event()

    def position(self, stream: Stream) -> Position | None:
        self.answers.wait(20)
        return super().position(stream)


@pytest.mark.parametrize("may_hang", [False, True])
def test_the_position_is_that_of_the_log(tmp_path: Path, may_hang: bool) -> None:
    make_run(tmp_path, RUN.name, events=metrics_event())
    log = FileLog(tmp_path, tmp_path / "state")
    positions = Positions(log, may_hang=may_hang)
    try:
        assert asyncio.run(positions.of(RUN)) == log.position(RUN)
        assert asyncio.run(positions.of(Stream("run", "no/such/runs/1"))) is None
    finally:
        positions.close()


def test_a_file_system_that_does_not_answer_leaves_event_loop_and_threads_to_others(tmp_path: Path) -> None:
    log = HangingLog(tmp_path)
    positions = Positions(log, may_hang=True, timeout_s=0.01)
    before = threading.active_count()

    async def ask() -> None:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await positions.of(RUN)
        assert await asyncio.gather(*(positions.of(RUN) for _ in range(10)), return_exceptions=True)
        assert threading.active_count() <= before + 4
        log.answers.set()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await positions.of(RUN) is None
                    return
                except TimeoutError:
                    continue

    try:
        asyncio.run(ask())
    finally:
        log.answers.set()
        positions.close()
