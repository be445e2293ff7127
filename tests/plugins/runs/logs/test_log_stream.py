"""What a stream does over time: with a clock that runs 3 600 times as fast, an hour passes in a second."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runicorn.plugin import StorageUnavailable
from runicorn_runs.logs.stream import WAITING, LogStreams

DEADLINE_S = 20.0  # real seconds


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs 3 600 times as fast; waiting takes as long as it says, at most 20 ms."""

    def __init__(self) -> None:
        super().__init__(_ShortSelector())

    def time(self) -> float:
        return super().time() * 3600


class _ShortSelector(selectors.DefaultSelector):  # pyright: ignore[reportGeneralTypeIssues]  # the class depends on the system
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0.02 if timeout is None else min(timeout, 0.02))


class Client:
    """A client in this process."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.code: int | None = None
        self.takes_frames = asyncio.Event()
        self.takes_frames.set()
        self._left = asyncio.Event()

    async def send(self, text: str) -> None:
        await self.takes_frames.wait()
        self.frames.append(text)

    async def close(self, code: int) -> None:
        await self.takes_frames.wait()
        self.code = code

    async def gone(self) -> None:
        await self._left.wait()

    def leave(self) -> None:
        self._left.set()


class Runs:
    """One run, `run`, whose read model may be unavailable."""

    def __init__(self, directory: Path) -> None:
        self.directory: Path | None = directory
        self.available = True

    async def find_run(self, run_id: str, /) -> Path | None:
        if not self.available:
            raise StorageUnavailable
        return self.directory

    def run_ended(self, run_id: str, /) -> bool:
        if not self.available:
            raise StorageUnavailable
        return False


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait, by the real clock, until a condition holds."""
    for _ in range(int(DEADLINE_S * 1000)):
        if condition():
            return
        await asyncio.to_thread(time.sleep, 0.001)
    raise TimeoutError


def streaming(directory: Path, scenario: Callable[[LogStreams, Runs], Awaitable[None]]) -> None:
    """Run `scenario` on the fast clock; nothing may be left of it."""

    async def run() -> None:
        runs = Runs(directory)
        async with LogStreams(runs) as streams:
            await scenario(streams, runs)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(run())


def test_an_idle_stream_stays_open_for_hours(tmp_path: Path) -> None:
    log = tmp_path / "logs.txt"
    log.write_text("one\n")

    async def scenario(streams: LogStreams, runs: Runs) -> None:
        clients = [Client(), Client()]
        served = [asyncio.create_task(streams.serve(client, "run")) for client in clients]
        await eventually(lambda: all(client.frames for client in clients))
        started = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() - started > 2 * 3600)
        with log.open("a") as file:
            file.write("two\n")
        await eventually(lambda: all(client.frames == ["one", "two"] for client in clients))
        assert not any(task.done() for task in served)
        for client in clients:
            client.leave()
        await asyncio.gather(*served)
        assert [client.code for client in clients] == [None, None]

    streaming(tmp_path, scenario)


def test_a_missing_log_is_waited_for_for_hours(tmp_path: Path) -> None:
    async def scenario(streams: LogStreams, runs: Runs) -> None:
        client = Client()
        served = asyncio.create_task(streams.serve(client, "run"))
        started = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() - started > 3600)
        assert client.frames == [WAITING]
        (tmp_path / "logs.txt").write_text("one\n")
        await eventually(lambda: client.frames[2:] == ["one"])
        assert not served.done()

    streaming(tmp_path, scenario)


def test_a_client_that_takes_nothing_for_minutes_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "logs.txt").write_text("one\ntwo\n")

    async def scenario(streams: LogStreams, runs: Runs) -> None:
        client = Client()
        client.takes_frames.clear()
        await streams.serve(client, "run")
        assert client.frames == []

    streaming(tmp_path, scenario)


def test_an_unavailable_read_model_ends_no_stream_and_starts_none(tmp_path: Path) -> None:
    log = tmp_path / "logs.txt"
    log.write_text("one\n")

    async def scenario(streams: LogStreams, runs: Runs) -> None:
        client, late = Client(), Client()
        served = asyncio.create_task(streams.serve(client, "run"))
        await eventually(lambda: client.frames == ["one"])
        runs.available = False
        await streams.serve(late, "run")
        assert (late.frames, late.code) == (["[error] Storage unavailable"], 1013)
        with log.open("a") as file:
            file.write("unfinished")
        await eventually(lambda: client.frames == ["one", "unfinished"])
        assert not served.done()
        runs.available, runs.directory = True, None
        await served
        assert (client.frames[-1], client.code) == ("[error] run not found", 1000)

    streaming(tmp_path, scenario)


def test_closing_ends_every_stream_and_every_later_one(tmp_path: Path) -> None:
    (tmp_path / "logs.txt").write_text("one\n")

    async def scenario(streams: LogStreams, runs: Runs) -> None:
        clients = [Client() for _ in range(10)]
        served = [asyncio.create_task(streams.serve(client, "run")) for client in clients]
        await eventually(lambda: all(client.frames for client in clients))
        await streams.close()
        await asyncio.gather(*served)
        late = Client()
        await streams.serve(late, "run")
        assert {client.code for client in [*clients, late]} == {1001}
        assert late.frames == []

    streaming(tmp_path, scenario)


@pytest.mark.parametrize("ending", ["leaves", "ends"])
def test_a_stream_that_is_over_makes_room_for_another(tmp_path: Path, ending: str) -> None:
    (tmp_path / "logs.txt").write_text("one\n")

    async def scenario(streams: LogStreams, runs: Runs) -> None:
        clients = [Client() for _ in range(10)]
        served = [asyncio.create_task(streams.serve(client, "run", counted_as="192.0.2.1")) for client in clients]
        await eventually(lambda: all(client.frames for client in clients))
        refused, other = Client(), Client()
        await streams.serve(refused, "run", counted_as="192.0.2.1")
        assert refused.code == 1013
        elsewhere = asyncio.create_task(streams.serve(other, "run", counted_as="192.0.2.2"))
        await eventually(lambda: other.frames == ["one"])
        if ending == "leaves":
            clients[3].leave()
            await served[3]
        else:
            runs.directory = None
            await asyncio.gather(*served, elsewhere)
            runs.directory = tmp_path
        again = Client()
        serving = asyncio.create_task(streams.serve(again, "run", counted_as="192.0.2.1"))
        await eventually(lambda: again.frames == ["one"])
        assert not serving.done()

    streaming(tmp_path, scenario)
