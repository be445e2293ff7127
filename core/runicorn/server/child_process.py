"""Keeps one process running beside the server.

It dies with its parent: its standard input is a pipe that only the parent holds. If it dies alone, or cannot be started
because the machine is out of memory, processes or descriptors, it is started again, later each time. Another server may
have one for the same state directory already; then this one waits, and tries to take over from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Literal

logger = logging.getLogger("runicorn.server")

EXIT_LOCKED = getattr(os, "EX_TEMPFAIL", 75)
"""The exit status of a process that found another one at its work, in the same state directory."""

_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0
_STEADY_S = 30.0  # a process that ran that long did not die of how it was started
_TAKE_OVER_S = 2.0
_STOP_S = 1.0

SPAWN_ERRORS = (OSError, RuntimeError)
"""What starting a process raises where the machine has none left; RuntimeError if it is the thread that waits for it."""

State = Literal["running", "restarting", "elsewhere", "stopped"]


class ChildProcess:
    """`python -m module arguments…`, for as long as the server runs. `what` names it in the server's log.

    The process must end when its standard input does and on SIGTERM, and give its work up by exit status 75
    (`EX_TEMPFAIL`) where another process does it: that is no failure. `state` and `restarts` are for `/api/health`.
    """

    def __init__(self, what: str, module: str, arguments: Sequence[str] = ()) -> None:
        self._what = what
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._lifeline = -1
        self._problem = ""
        self.state: State = "stopped"
        self.restarts = 0

    async def start(self) -> None:
        """Start the process, and watch over it from now on."""
        await self._spawn()
        self._task = asyncio.create_task(self._watch(), name=f"{self._what}-process")

    def ended(self, status: int) -> bool:
        """Called when the process has died with a status (negative: of a signal); whether the cause is out of the way.

        Then it is started again soon, as if it had not died before.
        """
        return False

    def add_arguments(self, *arguments: str) -> None:
        """Give the process these arguments, too, when it is started again."""
        self._command += arguments

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL if it is not gone after a second."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self.state = "stopped"
        self._let_go()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            logger.warning("the %s did not stop in time", self._what)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self._process = None
        try:
            self._process = await self._new_process()
        except SPAWN_ERRORS as error:
            self._problem = str(error)
            return
        if self.state != "elsewhere":
            self.state = "running"

    async def _new_process(self) -> asyncio.subprocess.Process:
        # A pipe of our own: what the event loop would make is a socket pair, which the process does not look at.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=reading,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server, which then ends the process
            )
        except BaseException:
            os.close(writing)  # also ends a process that came to be although we were told to stop
            raise
        finally:
            os.close(reading)
        self._let_go()
        self._lifeline = writing
        return process

    def _let_go(self) -> None:
        """Close our end of the pipe: a process that still runs stops."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY_S
        started = loop.time()
        while True:
            process = self._process
            if process is not None and self.state == "elsewhere":
                await self._notice_take_over(process)
            status = None if process is None else await process.wait()
            if status == EXIT_LOCKED:
                if self.state != "elsewhere":
                    logger.info("the %s of another server works on this state directory: this one waits", self._what)
                self.state = "elsewhere"
                await asyncio.sleep(_TAKE_OVER_S)
            else:
                self.state = "restarting"
                self.restarts += 1
                if status is not None and self.ended(status):
                    delay = _FIRST_DELAY_S
                delay = _FIRST_DELAY_S if loop.time() - started > _STEADY_S else delay
                what = f"cannot be started ({self._problem})" if status is None else f"ended with status {status}"
                logger.error("the %s %s; it is started again in %.1f s", self._what, what, delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LAST_DELAY_S)
            started = loop.time()
            await self._spawn()

    async def _notice_take_over(self, process: asyncio.subprocess.Process) -> None:
        """A process that still runs after a while has got the lock."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _TAKE_OVER_S)
            return
        self.state = "running"
        logger.info("the other server is gone: the %s of this one works now", self._what)
