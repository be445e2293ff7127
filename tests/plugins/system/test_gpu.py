"""One call of `nvidia-smi` for all who ask at the same time."""

from __future__ import annotations

import asyncio

from runicorn_system.gpu import GpuMonitor, GpuReadings, NoReadings
from tests.plugins.system.fake_nvidia_smi import H200, FakeNvidiaSmi
from tests.serving import wait_until


async def until_called(command: FakeNvidiaSmi) -> None:
    await asyncio.to_thread(wait_until, lambda: command.calls, "a call of the command")


def test_many_clients_share_one_call(command: FakeNvidiaSmi) -> None:
    command.prints(H200)

    async def main() -> list[GpuReadings | NoReadings]:
        monitor = GpuMonitor()
        return await asyncio.gather(*(monitor.read() for _ in range(20)))

    readings = asyncio.run(main())
    assert isinstance(readings[0], GpuReadings)
    assert all(reading is readings[0] for reading in readings)
    assert len(command.calls) == 1


def test_an_answer_expires(command: FakeNvidiaSmi) -> None:
    command.prints(H200)

    async def main() -> None:
        monitor = GpuMonitor()
        first = await monitor.read()
        command.prints("garbage")
        async with asyncio.timeout(20):
            while True:
                second = await monitor.read()
                if second is not first:
                    break
                await asyncio.sleep(0.02)
        assert second == NoReadings(False, "nvidia-smi failed")
        assert monitor.health().status == "degraded"

    asyncio.run(main())


def test_a_client_that_leaves_does_not_take_the_answer_of_the_others(command: FakeNvidiaSmi) -> None:
    gate = command.directory / "gate"
    command.runs(f"while [ ! -e {gate} ]; do sleep 0.02; done\necho '{H200}'")

    async def main() -> None:
        monitor = GpuMonitor()
        leaver, stayer = asyncio.create_task(monitor.read()), asyncio.create_task(monitor.read())
        await until_called(command)
        leaver.cancel()
        gate.touch()
        assert isinstance(await stayer, GpuReadings)
        assert leaver.cancelled()

    asyncio.run(main())
    assert len(command.calls) == 1


def test_closing_ends_the_command(command: FakeNvidiaSmi) -> None:
    command.runs("exec sleep 600")

    async def main() -> None:
        monitor = GpuMonitor()
        reading = asyncio.create_task(monitor.read())
        await until_called(command)
        async with asyncio.timeout(2):
            await monitor.close()
        await asyncio.gather(reading, return_exceptions=True)
        assert reading.cancelled()

    asyncio.run(main())


def test_a_machine_without_gpus_is_healthy() -> None:
    assert GpuMonitor().health().status == "ok"
