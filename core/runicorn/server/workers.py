"""Several API workers on one socket: a supervisor that starts them, replaces those that die, and stops them together.

The first worker is the leader: it owns the projector process and does periodic work. A worker that is asked for another
root asks the supervisor, and all workers switch together: each opens the new root, then each leaves the old one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from runicorn.config import state_directory
from runicorn.credentials.key_file import new_key
from runicorn.host import source_paths
from runicorn.server.child_process import SPAWN_ERRORS
from runicorn.server.settings import ServeSettings
from runicorn.server.worker import WorkerSettings
from runicorn.server.worker_link import WorkerLink
from runicorn.server.worker_messages import AbandonRoot, CommitRoot, Outcome, PrepareRoot, Problem, Ready, SwitchWanted
from runicorn.user_config import NotSaved, store_user_root

logger = logging.getLogger("runicorn.server")

_STOP_S = 6.0
_PREPARE_S = 15.0  # a root that nobody has opened yet waits three seconds for its read models
_COMMIT_S = 5.0
_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 5.0


class Supervisor:
    """Runs the workers of one server."""

    def __init__(self, settings: ServeSettings, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._on_ready = on_ready
        self._workers: dict[int, WorkerLink] = {}
        self._reference_key = new_key()
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._switching = asyncio.Lock()
        self._switches: set[asyncio.Task[None]] = set()
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
        worker = self._workers[index] = WorkerLink(index, process)
        worker.tell(self._reference_key + b"\n")  # not among the arguments, which every user of the machine can read
        was_ready = False
        try:
            async for report in worker.listen(reports):
                match report:
                    case Ready(plugins):
                        was_ready = True
                        if settings.root != self._settings.root:
                            worker.kill()  # the root was switched while it started
                        elif not self._ready.is_set():
                            self._ready.set()
                            self._on_ready(plugins)
                    case SwitchWanted(root, remember):
                        task = asyncio.create_task(self._switch(worker, root, remember))
                        self._switches.add(task)
                        task.add_done_callback(self._switches.discard)
            return await process.wait(), was_ready
        except OSError:
            process.kill()
            raise
        finally:
            self._workers.pop(index, None)

    async def _switch(self, wanted_by: WorkerLink, root: str, remember: bool) -> None:
        problem: Problem = "unavailable"
        async with self._switching:
            try:
                problem = await self._try_switch(root, remember)
            finally:
                wanted_by.tell(Outcome(problem))  # whatever happens: somebody waits for it

    async def _try_switch(self, root: str, remember: bool) -> Problem:
        """Let all workers serve another root, or none of them."""
        is_other = root != self._settings.root
        prepared: set[WorkerLink] = set()
        problem = await self._prepare(root, prepared) if is_other else ""
        if not problem and remember:
            try:
                await asyncio.to_thread(store_user_root, Path(root))
            except NotSaved:
                problem = "not_saved"
        if problem:
            for worker in self._workers.values():
                worker.tell(AbandonRoot())
        elif is_other:
            await self._commit(root, prepared)
        return problem

    async def _prepare(self, root: str, prepared: set[WorkerLink]) -> Problem:
        """Let every worker open the root; `prepared` are those that have."""
        while waiting := [worker for worker in self._workers.values() if worker.is_ready and worker not in prepared]:
            waiting.sort(key=lambda worker: worker.index)
            leader = waiting[:1] if waiting[0].index == 0 else []  # it starts the projector, which the others wait for
            for group in (leader, waiting[len(leader) :]):
                answers = await asyncio.gather(
                    *(worker.ask(lambda number: PrepareRoot(number, root), _PREPARE_S) for worker in group)
                )
                for worker, answer in zip(group, answers, strict=True):
                    if answer:
                        return answer
                    if answer is None and worker.process.returncode is None and worker.is_ready:
                        return "unavailable"  # it does not answer, and may serve the old root for long
            prepared.update(waiting)
        return ""

    async def _commit(self, root: str, prepared: set[WorkerLink]) -> None:
        """Let them serve it, and replace all others: what was starting meanwhile knows the old root only."""
        state_dir = str(state_directory(Path(root)))
        self._settings = msgspec.structs.replace(self._settings, root=root, state_dir=state_dir)
        ready = [worker for worker in self._workers.values() if worker.is_ready and worker in prepared]
        others = [worker for worker in self._workers.values() if worker not in ready]
        for worker in others:
            worker.kill()
        answers = await asyncio.gather(*(worker.ask(CommitRoot, _COMMIT_S) for worker in ready))
        for worker, answer in zip(ready, answers, strict=True):
            if answer is None:
                worker.kill()

    def _end_workers(self) -> None:
        for worker in self._workers.values():
            worker.terminate()

    async def _watch_sources(self) -> None:
        import watchfiles

        import runicorn

        while True:  # anew after each change: a file that an editor replaces takes its watch along
            paths = {str(Path(runicorn.__file__).parent), *source_paths()}
            async for _ in watchfiles.awatch(*paths, watch_filter=watchfiles.PythonFilter()):
                break
            logger.info("the source changed: restarting")
            self._end_workers()

    async def _stop_all(self) -> None:
        workers = list(self._workers.values())
        self._end_workers()
        waiting = [asyncio.create_task(worker.process.wait()) for worker in workers]
        if waiting:
            _, stuck = await asyncio.wait(waiting, timeout=_STOP_S)
            if stuck:
                for worker in workers:
                    worker.kill()
                await asyncio.wait(stuck)
