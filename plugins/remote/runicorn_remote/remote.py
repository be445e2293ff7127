"""What this server process has to do with other machines: one object, whatever storage root is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from runicorn.plugin import Serving
from runicorn_remote import events
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import ConnectFailed
from runicorn_remote.events import Journal
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.mirrors import Mirrors
from runicorn_remote.registry import Login, Registry, Session
from runicorn_remote.smart.mode import Mode, Smart
from runicorn_remote.smart.shown_artifacts import RemoteArtifacts

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 24
_CLOSE_S = 1.0


class Remote:
    """Connections and modes. `serving.own(Remote)` is the one of a server."""

    def __init__(self, serving: Serving) -> None:
        # Every failure becomes an error of ours; paramiko would log each of them, line by line of its traceback.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        self.journal = Journal(lambda *payloads: serving.store.record(*payloads))
        self.registry = Registry()
        self.mirrors = Mirrors(self.registry)
        # Not the pool of everybody: a machine that does not answer holds a thread for a quarter of a minute.
        self._threads = ThreadPoolExecutor(_THREADS, "ssh")
        self.smart = Smart(
            self.registry, lambda: serving.store, self._threads, self.journal, on_mode=self._show_artifacts
        )
        self._artifacts = RemoteArtifacts(self.smart, self._threads, self.journal)
        serving.on_switch.append(self._after_switch)
        self._serving = serving

    async def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call something that blocks, in a thread for remote work."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*arguments, **options))

    def log_in(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> Login:
        """`Registry.log_in`, and the log is told how it went."""
        try:
            login = self.registry.log_in(target, credentials, policy)
        except ConnectFailed as failure:
            self.journal.tell(*events.of_failure(target, failure))
            raise
        self.journal.tell(*events.of_login(target, login.method, login.host_key, first_use=login.first_use))
        return login

    def open_session(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> Session:
        """`Registry.open_session`, and the log is told how it went."""
        try:
            session = self.registry.open_session(target, credentials, policy)
        except ConnectFailed as failure:
            self.journal.tell(*events.of_failure(target, failure))
            raise
        made = session.connection.established
        self.journal.tell(*events.of_login(target, made.method, made.host_key, first_use=made.first_use))
        return session

    async def _after_switch(self, root: Path) -> None:
        self.smart.bind(self._serving.store)
        await self.run(self.smart.show_again)

    def _show_artifacts(self, mode: Mode) -> None:
        self._serving.artifact_place = self._artifacts if mode == "remote" else None

    async def close(self) -> None:
        """Stop all modes and close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        closing = ThreadPoolExecutor(1, "ssh-close")
        try:
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(closing, self._end), _CLOSE_S)
        except TimeoutError:
            self.registry.close()
        finally:
            closing.shutdown(wait=False)

    def _end(self) -> None:
        for task in self.mirrors.tasks():
            task.request_stop()
        self.smart.end()
        self.mirrors.stop_all()
        self.registry.close()
