"""The supervisor's end of the pipes to one worker process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from runicorn.server.worker_messages import (
    Done,
    Order,
    Problem,
    Ready,
    Report,
    SwitchWanted,
    decode_report,
    encode_line,
)

_numbers = itertools.count(1)


class WorkerLink:
    """One worker, from its start to its end."""

    def __init__(self, index: int, process: asyncio.subprocess.Process) -> None:
        self.index = index
        self.process = process
        self.is_ready = False
        self._answers: dict[int, asyncio.Future[Problem | None]] = {}

    def tell(self, order: Order | bytes) -> None:
        """Give an order, or the first line, without waiting."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(order if isinstance(order, bytes) else encode_line(order))

    async def ask(self, order: Callable[[int], Order], timeout_s: float) -> Problem | None:
        """Give the order that `order(number)` makes, and wait until it is carried out; None if the worker is gone, or late."""
        if not self.is_ready:
            return None  # it ended a moment ago: nobody would answer
        number = next(_numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell(order(number))
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            return None
        finally:
            del self._answers[number]

    async def listen(self, reports: BinaryIO) -> AsyncIterator[Ready | SwitchWanted]:
        """What the worker reports until it ends; answers to `ask` go there."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), reports
        )
        try:
            while line := await reader.readline():
                report: Report = decode_report(line)
                match report:
                    case Done(number, problem):
                        answer = self._answers.get(number)
                        if answer is not None and not answer.done():
                            answer.set_result(problem)
                    case Ready() | SwitchWanted():
                        self.is_ready = True
                        yield report
        finally:
            transport.close()
            self.is_ready = False
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)

    def terminate(self) -> None:
        """Ask the process to end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
