"""One connection to a machine, for as long as somebody holds it: its channels, its watchdog, its return after a loss."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

from runicorn_remote.attempt import Attempt
from runicorn_remote.channels import Command, open_sftp, translated
from runicorn_remote.connector import Connected, Target, connect
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import (
    ChannelRefused,
    ConnectFailed,
    ConnectionLost,
    OperationTimeout,
    RemoteError,
    SftpUnavailable,
)
from runicorn_remote.further import Further
from runicorn_remote.host_keys import HostKeyPolicy

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient
    from paramiko.transport import Transport

T = TypeVar("T")

logger = logging.getLogger("runicorn.remote")

_LOOK_S = 0.1
_WATCH_S = 15.0
_QUIET_S = 15.0
_FLOWING_S = 5.0
"""Without a byte for so long, nothing is under way any more."""


class Connection:
    """A connection that is logged in, or was.

    `holders` are the modes and tasks that need it; it is closed when it has none and is not the current one. Its calls
    block; they may be made by many threads.
    """

    def __init__(self, target: Target, credentials: Credentials, policy: HostKeyPolicy) -> None:
        """Connect. ConnectFailed if that does not work: then nothing is left of it."""
        self.target = target
        self.holders: set[object] = set()
        self._failure: str | None = None
        """Why it did not come back."""
        self.connected_at = time.time()
        self._connected_since = time.monotonic()
        self.has_no_commands = False
        """Whether the server was found to run no commands for us; remembered until the next connection."""
        self._credentials = credentials
        self._policy = policy
        self._mutex = threading.Lock()
        self._lost = threading.Event()
        self._closed = threading.Event()
        self._connected = connect(target, credentials, policy)
        self._further = Further(lambda attempt: connect(target, self._credentials, self._policy, attempt))
        self._listing: SFTPClient | None = None
        self._listing_mutex = threading.Lock()
        self._silences = 0
        """How often the server did not answer in time to those who looked."""
        self._watch()

    @property
    def connection_id(self) -> str:
        """`user@host:port`."""
        return self.target.connection_id

    @property
    def established(self) -> Connected:
        """How the connection was made: host key, whether it was new, method."""
        return self._connected

    @property
    def is_alive(self) -> bool:
        """Whether it can be used, as far as is known: from memory, without asking the server."""
        return not self._lost.is_set() and not self._closed.is_set() and self._connected.transport.is_active()

    @property
    def last_error(self) -> str | None:
        """Why it cannot be used, in one line; None while it can, and after `close`."""
        if self._failure is None and not self.is_alive and not self.is_closed:
            return str(ConnectionLost())
        return self._failure

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: it never comes back."""
        return self._closed.is_set()

    @property
    def uptime_s(self) -> int:
        """Seconds since it was made, or made again."""
        return int(time.monotonic() - self._connected_since)

    def open_sftp(self, *, is_needed: bool = True) -> SFTPClient:
        """An SFTP client of its own, for one thread; close it. One that is not needed is no reason to log in once more.

        ConnectionLost, OperationTimeout, ChannelRefused, SftpUnavailable.
        """
        return self._opened(open_sftp, is_needed=is_needed)

    def run(self, script: str) -> Command:
        """Start a script for `sh`; see `Command`."""
        return self._opened(lambda transport: Command(transport, script))

    def _opened(self, opening: Callable[[Transport], T], *, is_needed: bool = True) -> T:
        """What `opening` makes of a transport, which is another one if the server allows no more channels on the first."""
        if not self.is_alive:
            raise ConnectionLost
        try:
            return opening(self._connected.transport)
        except ChannelRefused:
            if not is_needed:
                raise
            return self._further.opened(opening)

    @contextlib.contextmanager
    def shared_sftp(self) -> Generator[SFTPClient]:
        """The SFTP client for short looks, one at a time; thrown away after a failure of the connection.

        OperationTimeout also if the look before, for which this one had to wait, has found that the server does not answer.
        """
        silences = self._silences
        with self._listing_mutex:
            if self._silences != silences:  # asking again would take as long again
                raise OperationTimeout
            try:
                if self._listing is None:
                    self._listing = self.open_sftp()
                yield self._listing
            except (ConnectionLost, OperationTimeout) as failure:
                if isinstance(failure, OperationTimeout):
                    self._silences += 1
                listing, self._listing = self._listing, None
                if listing is not None:
                    listing.close()
                raise

    def authenticate(self, credentials: Credentials, policy: HostKeyPolicy) -> Connected:
        """Try other credentials on a connection of their own, which is closed again, and use them from now on."""
        probe = connect(self.target, credentials, policy)
        probe.close()
        with self._mutex:
            former, self._credentials, self._policy = self._credentials, credentials, policy
        if former is not credentials:
            former.wipe()  # whoever is logging in with them has a copy
        if self._closed.is_set():
            credentials.wipe()
        return probe

    def reconnect(self, attempt: Attempt | None = None) -> None:
        """Make a lost connection again, with everything that the first time took. ConnectFailed or ConnectionLost.

        If the `attempt` is ended this fails soon, also while somebody else is connecting.
        """
        with self._turn(attempt):
            if self._closed.is_set():
                raise ConnectionLost
            if self.is_alive:
                return
            self._connected.close()
            try:
                made = connect(self.target, self._credentials, self._policy, attempt)
            except ConnectFailed as failure:
                if attempt is None or not attempt.has_ended:
                    self._failure = str(failure)
                raise
            if self._closed.is_set():
                made.close()
                raise ConnectionLost
            self._take(made)

    def revive(self, credentials: Credentials, policy: HostKeyPolicy) -> Connected | None:
        """Log in again with other credentials, for all who hold this connection; None if it was closed for good.

        ConnectFailed leaves it as it was.
        """
        with self._mutex:
            if self._closed.is_set():
                return None
            made = connect(self.target, credentials, policy)
            if self._closed.is_set():
                made.close()
                return None
            self._credentials, self._policy = credentials, policy
            if self.is_alive:  # a holder was quicker; what it opened stays
                made.close()
            else:
                self._connected.close()
                self._take(made)
            return made

    @contextlib.contextmanager
    def _turn(self, attempt: Attempt | None) -> Generator[None]:
        """The right to connect. ConnectionLost if the attempt was ended before."""
        while not self._mutex.acquire(timeout=_LOOK_S):
            if attempt is not None and attempt.has_ended:
                raise ConnectionLost
        try:
            yield
        finally:
            self._mutex.release()

    def _take(self, made: Connected) -> None:
        """Go on with a connection that was just made."""
        self._connected, self._listing = made, None
        self._further.clear()
        self.connected_at, self._connected_since = time.time(), time.monotonic()
        self._failure, self.has_no_commands = None, False
        self._lost.clear()
        self._watch()

    def forbid(self) -> None:
        """It is about to be closed: from now on it is no use to anybody."""
        self._closed.set()

    def close(self) -> None:
        """End it for good, and forget the credentials. What waits on its channels wakes up."""
        self._closed.set()
        self._further.close()
        self._connected.close()
        self._credentials.wipe()

    def _watch(self) -> None:
        connected = self._connected
        threading.Thread(
            target=self._watchdog, args=(connected,), name=f"ssh-watchdog {self.connection_id}", daemon=True
        ).start()

    def _watchdog(self, connected: Connected) -> None:
        """Ask the server for next to nothing when it has been silent: a stopped one still acknowledges TCP."""
        while not self._closed.wait(_quiet_for_s(connected, _WATCH_S)) and connected.transport.is_active():
            if time.monotonic() - connected.heard.at < _WATCH_S:
                continue
            try:
                self._ask(connected)
            except RemoteError as error:
                is_sending = time.monotonic() - connected.heard.at < _FLOWING_S
                if is_sending and connected.transport.is_active():
                    continue  # its answer is behind what it sends to others
                if connected is self._connected and not self._closed.is_set():
                    logger.warning("the connection %s is lost: %s", self.connection_id, error)
                    self._lose()
                connected.close()
                return
        if connected is self._connected and not self._closed.is_set():
            self._lose()

    def _lose(self) -> None:
        self._lost.set()
        self._further.clear()

    def _ask(self, connected: Connected) -> None:
        try:
            sftp = open_sftp(connected.transport)
        except (SftpUnavailable, ChannelRefused):  # it has answered
            return
        try:
            channel = sftp.get_channel()
            if channel is not None:
                channel.settimeout(_QUIET_S)
            with translated():
                sftp.normalize(".")
        finally:
            sftp.close()


def _quiet_for_s(connected: Connected, seconds: float) -> float:
    """How long it takes until nothing was heard for so long."""
    return max(_LOOK_S, connected.heard.at + seconds - time.monotonic())
