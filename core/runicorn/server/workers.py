"""Several API workers on one socket: a supervisor that starts them, replaces those that die, and stops them together.

The first worker is the leader: it owns the projector process and does periodic work. When any worker switches the root, the
others are replaced by workers that serve the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from runicorn.config import state_directory
from runicorn.host import source_paths
from runicorn.server.projector_process import SPAWN_ERRORS
from runicorn.server.settings import ServeSettings
from runicorn.server.worker import Report, WorkerSettings

logger = logging.getLogger("runicorn.server")

_STOP_S = 6.0
_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0


class Supervisor:
    """Runs the workers of one server."""

    def __init__(self, settings: ServeSettings, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._on_ready = on_ready
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        tasks = [asyncio.create_task(self._keep_running(0))]
        first = asyncio.create_task(self._ready.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((first, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping.is_set():
            tasks += [asyncio.create_task(self._keep_running(index)) for index in range(1, self._settings.workers)]
            if self._settings.reload:
                tasks.append(asyncio.create_task(self._watch_sources()))
            await stopping
        first.cancel()
        await self._stop_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return 1 if self._failed else 0

    async def _keep_running(self, index: int) -> None:
        delay = _FIRST_DELAY_S
        while not self._stopping.is_set():
            settings = self._settings
            try:
                status, was_ready = await self._run_one(index, settings)
            except SPAWN_ERRORS as error:  # out of memory, processes or descriptors
                logger.error("worker %d cannot be started: %s", index, error)
                status, was_ready = 1, False
            if self._stopping.is_set():
                return
            if not self._ready.is_set():
                self._failed = True  # the first start of all: it has said why, and trying again cannot help
                self._stopping.set()
                return
            if status == 0 and was_ready:
                delay = _FIRST_DELAY_S  # it was asked to end, for a reload or another root
                continue
            logger.error("worker %d ended with status %s; it is started again in %.1f s", index, status, delay)
            await asyncio.sleep(delay)
            delay = _FIRST_DELAY_S if was_ready else min(2 * delay, _LAST_DELAY_S)

    async def _run_one(self, index: int, settings: ServeSettings) -> tuple[int, bool]:
        """Run one worker to its end: exit status, and whether it had served."""
        reading, writing = os.pipe()
        reports = os.fdopen(reading, "rb")
        try:
            told = WorkerSettings(settings, self._listener.fileno(), writing, is_leader=index == 0)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "runicorn.server.worker", msgspec.json.encode(told).decode()),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(self._listener.fileno(), writing),
            )
        except BaseException:
            reports.close()
            raise
        finally:
            os.close(writing)
        self._processes[index] = process
        try:
            was_ready = await self._listen(index, reports)
            return await process.wait(), was_ready
        except OSError:
            process.kill()
            raise
        finally:
            self._processes.pop(index, None)

    async def _listen(self, index: int, reports: BinaryIO) -> bool:
        """Hear what a worker reports until it ends; whether it has served."""
        was_ready = False
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), reports
        )
        try:
            while line := await reader.readline():
                report = msgspec.json.decode(line, type=Report)
                if report.ready:
                    was_ready = True
                    if not self._ready.is_set():
                        self._ready.set()
                        self._on_ready(report.plugins)
                if report.root:
                    self._switch(index, report.root)
            return was_ready
        finally:
            transport.close()

    def _switch(self, index: int, root: str) -> None:
        state_dir = str(state_directory(Path(root)))
        self._settings = msgspec.structs.replace(self._settings, root=root, state_dir=state_dir)
        self._replace(except_for=index)

    def _replace(self, *, except_for: int = -1) -> None:
        for index, process in self._processes.items():
            if index != except_for:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()

    async def _watch_sources(self) -> None:
        import watchfiles

        import runicorn

        while True:  # anew after each change: a file that an editor replaces takes its watch along
            paths = {str(Path(runicorn.__file__).parent), *source_paths()}
            async for _ in watchfiles.awatch(*paths, watch_filter=watchfiles.PythonFilter()):
                break
            logger.info("the source changed: restarting")
            self._replace()

    async def _stop_all(self) -> None:
        processes = list(self._processes.values())
        self._replace()
        waiting = [asyncio.create_task(process.wait()) for process in processes]
        if waiting:
            _, stuck = await asyncio.wait(waiting, timeout=_STOP_S)
            if stuck:
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                await asyncio.wait(stuck)
