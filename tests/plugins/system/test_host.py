"""Readings of this machine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from runicorn_system.host import HostMonitor


def test_clients_that_ask_together_get_the_same_readings(tmp_path: Path) -> None:
    async def ask() -> int:
        monitor = HostMonitor(SimpleNamespace(root=tmp_path))  # type: ignore[arg-type]  # all that it asks of a store
        try:
            return len({id(reading) for reading in await asyncio.gather(*(monitor.read() for _ in range(20)))})
        finally:
            await monitor.close()

    assert asyncio.run(ask()) == 1


def test_a_disk_that_does_not_answer_is_left_out_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    asked: list[str] = []

    def hanging(path: str) -> object:  # a network file system whose server is away
        asked.append(path)
        answered.wait(60)
        return SimpleNamespace(total=4, used=1, free=3, percent=25.0)

    monkeypatch.setattr(psutil, "disk_usage", hanging)
    monkeypatch.setattr("runicorn_system.host._FRESH_S", 0.0)

    async def ask() -> None:
        monitor = HostMonitor(SimpleNamespace(root=tmp_path))  # type: ignore[arg-type]  # all that it asks of a store
        try:
            for _ in range(2):
                reading = await monitor.read()
                assert reading.disk is None
                assert reading.memory.total_bytes > 0
            assert asked == [str(tmp_path)]
            answered.set()
            async with asyncio.timeout(20):
                while (reading := await monitor.read()).disk is None:
                    pass
            assert reading.disk.free_bytes == 3
        finally:
            answered.set()
            await monitor.close()

    asyncio.run(ask())


def test_a_root_that_is_gone_has_no_disk(tmp_path: Path) -> None:
    async def ask() -> None:
        monitor = HostMonitor(SimpleNamespace(root=tmp_path / "gone"))  # type: ignore[arg-type]  # as above
        try:
            assert (await monitor.read()).disk is None
        finally:
            await monitor.close()

    asyncio.run(ask())
