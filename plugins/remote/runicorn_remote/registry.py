"""The connections of this server process: which there are, which one is current, and who needs them.

State is per process, not per browser. At most one connection is *current*; a connection is closed when it is not current
and has no holder. Requests for the same machine and user are carried out one after the other.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator

import msgspec

from runicorn.plugin import Conflict, Unavailable
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import ConnectionLost, HostKey
from runicorn_remote.host_keys import HostKeyPolicy

MAX_SESSIONS = 16
MAX_ATTEMPTS = 4


class TooManySessions(Conflict):
    """There are 16 connections already."""

    def __init__(self) -> None:
        super().__init__("Too many sessions")


class TooManyAttempts(Unavailable):
    """Four connection attempts are under way."""

    def __init__(self) -> None:
        super().__init__("Too many connection attempts in progress")


class Login(msgspec.Struct, frozen=True):
    """The result of a request to connect."""

    connection: Connection
    reused: bool
    """Whether the machine was connected already; the credentials were tried all the same."""
    host_key: HostKey
    first_use: bool
    method: str
    """How the login was done: `key`, `agent`, `default key`, `password`, `keyboard-interactive`."""


class Session(msgspec.Struct, frozen=True):
    """A connection of the legacy API, which belongs to nobody else."""

    session_id: str
    connection: Connection
    connected_at: float


class Registry:
    """All connections. Calls that connect or close block, for threads; everything else answers from memory."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._by_id: dict[str, Connection] = {}
        self._sessions: dict[str, Session] = {}
        self._current: Connection | None = None
        self._busy: dict[str, list[object]] = {}
        """Who is connecting to each machine, and who waits for that."""
        self._turn = threading.Condition()
        self._attempts = threading.BoundedSemaphore(MAX_ATTEMPTS)
        self._being_made = 0
        self._is_closed = False

    @property
    def current(self) -> Connection | None:
        """The connection of the unified API."""
        return self._current

    def log_in(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> Login:
        """Connect, or try the credentials beside a connection that is there. ConnectFailed leaves everything as it was."""
        with self._attempt(target.connection_id):
            again = self._log_in_again(target, credentials, policy)
            if again is not None:
                return again
            with self._place():
                connection = Connection(target, credentials, policy)
                with self._mutex:
                    if self._is_closed:
                        connection.close()
                    self._by_id[target.connection_id] = connection
            made = connection.established
            return Login(connection, False, made.host_key, made.first_use, made.method)

    def _log_in_again(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> Login | None:
        """Log in to a machine that is connected, or was; None if it is neither."""
        login = object()
        with self._mutex:
            known = self._by_id.get(target.connection_id)
            if known is None or known.is_closed:
                return None
            known.holders.add(login)  # another one may become the current connection meanwhile, and close it
        try:
            if known.is_alive:
                made = known.authenticate(credentials, policy)
                return Login(known, True, made.host_key, made.first_use, made.method)
            # Who holds a dead connection goes on with it: it is made again, not replaced.
            made = known.revive(credentials, policy)
            return None if made is None else Login(known, False, made.host_key, made.first_use, made.method)
        except BaseException:
            self.release(known, login)
            raise
        finally:
            with self._mutex:
                known.holders.discard(login)

    def make_current(self, connection: Connection) -> None:
        """Make it the connection of the unified API; the former one is closed unless somebody holds it."""
        with self._mutex:
            former, self._current = self._current, connection
        if former is not None and former is not connection:
            self._close_unneeded(former)

    def leave_current(self) -> None:
        """Have no current connection; it is closed unless somebody holds it."""
        with self._mutex:
            former, self._current = self._current, None
        if former is not None:
            self._close_unneeded(former)

    def open_session(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> Session:
        """Another connection, for the legacy API."""
        with self._attempt(target.connection_id):
            with self._place():
                connection = Connection(target, credentials, policy)
                with self._mutex:
                    milliseconds = int(time.time() * 1000)
                    while (session_id := f"{target.connection_id}:{milliseconds}") in self._sessions:
                        milliseconds += 1
                    session = Session(session_id, connection, connection.connected_at)
                    self._sessions[session_id] = session
            return session

    def sessions(self) -> list[Session]:
        """Sessions of the legacy API, dead ones included, the oldest first."""
        with self._mutex:
            return list(self._sessions.values())

    def close_session(self, session_id: str) -> Session | None:
        """End a legacy session; None if there is none. Who uses its connection has to be stopped before."""
        with self._mutex:
            session = self._sessions.pop(session_id, None)
            if session is not None:
                session.connection.forbid()
        if session is not None:
            session.connection.close()
        return session

    def session_connection(self, session_id: str) -> Connection | None:
        """The connection of a legacy session, dead or alive."""
        with self._mutex:
            session = self._sessions.get(session_id)
            return None if session is None else session.connection

    def find(self, any_id: str) -> Connection | None:
        """The connection with a unified or a legacy id."""
        with self._mutex:
            session = self._sessions.get(any_id)
            return self._by_id.get(any_id) if session is None else session.connection

    def hold(self, connection: Connection, holder: object) -> None:
        """Keep a connection open for `holder`. ConnectionLost if it has just been closed."""
        with self._mutex:
            if connection.is_closed:
                raise ConnectionLost
            connection.holders.add(holder)

    def release(self, connection: Connection, holder: object) -> None:
        """`holder` does not need it any more."""
        with self._mutex:
            connection.holders.discard(holder)
        self._close_unneeded(connection)

    def close(self) -> None:
        """Close everything."""
        with self._mutex:
            self._is_closed = True
            connections = [*self._by_id.values(), *(session.connection for session in self._sessions.values())]
            self._by_id.clear()
            self._sessions.clear()
            self._current = None
        for connection in connections:
            connection.close()

    def _close_unneeded(self, connection: Connection) -> None:
        with self._mutex:
            is_session = any(session.connection is connection for session in self._sessions.values())
            if connection.holders or connection is self._current or is_session:
                return
            if self._by_id.get(connection.connection_id) is connection:
                del self._by_id[connection.connection_id]
            connection.forbid()  # nobody can take hold of it from here on
        connection.close()

    @contextlib.contextmanager
    def _place(self) -> Generator[None]:
        """Room for a connection that is made and put among the others in the body. TooManySessions."""
        with self._mutex:
            alive = [connection for connection in self._by_id.values() if not connection.is_closed]
            if len(alive) + len(self._sessions) + self._being_made >= MAX_SESSIONS:
                raise TooManySessions
            self._being_made += 1
        try:
            yield
        finally:
            with self._mutex:
                self._being_made -= 1

    @contextlib.contextmanager
    def _attempt(self, connection_id: str) -> Generator[None]:
        if not self._attempts.acquire(blocking=False):
            raise TooManyAttempts
        try:
            with self._turn:
                waiting = self._busy.setdefault(connection_id, [])
                waiting.append(me := object())
                self._turn.wait_for(lambda: waiting[0] is me)
            try:
                yield
            finally:
                with self._turn:
                    waiting.remove(me)
                    if not waiting:
                        del self._busy[connection_id]
                    self._turn.notify_all()
        finally:
            self._attempts.release()
