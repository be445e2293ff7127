"""Channels of a connection, each step with a deadline.

`settimeout` bounds reads and writes of a channel, but nothing bounds paramiko's `open_sftp`, `invoke_subsystem` and
`exec_command`: against a server that has stopped they wait for ever. Here a timer closes the channel from outside, which
wakes the waiting thread. A channel is thrown away after a timeout: its stream is out of step.
"""

from __future__ import annotations

import contextlib
import errno
import shlex
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from runicorn_remote.errors import (
    ChannelRefused,
    ConnectionLost,
    NotADirectory,
    OperationTimeout,
    PermissionDenied,
    RemotePathNotFound,
    SftpUnavailable,
)
from runicorn_remote.sftp_client import careful_client

if TYPE_CHECKING:
    from paramiko.channel import Channel
    from paramiko.sftp_client import SFTPClient
    from paramiko.transport import Transport

STEP_S = 15.0
"""How long one step of a remote operation may go without progress."""

_OPEN_S = 10.0
_LOOK_S = 0.005
_PIECE_BYTES = 64 << 10
_MAX_STDERR_BYTES = 16 << 10
_CLOSED_SOCKET = "Socket is closed"
"""What paramiko raises on a closed channel: an OSError without a number, as for the failures that a server sends."""


def close(channel: Channel) -> None:
    """Close a channel, which also tells the other side; it may be gone."""
    with contextlib.suppress(EOFError, OSError):
        channel.close()


@contextlib.contextmanager
def deadline(channel: Channel, timeout_s: float = STEP_S) -> Generator[None]:
    """Close the channel if the body takes too long; then OperationTimeout."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        close(channel)

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise OperationTimeout from error
        raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def translated(path: str = "") -> Generator[None]:
    """Raise the errors of paramiko as ours. `path` is what errors call the file, as the client sent it."""
    from paramiko.sftp import SFTPError
    from paramiko.ssh_exception import SSHException

    try:
        yield
    except TimeoutError as error:
        raise OperationTimeout from error
    except (EOFError, SSHException, SFTPError) as error:
        raise ConnectionLost from error
    except OSError as error:
        raise _of_status(error, path) from error


def _of_status(error: OSError, path: str) -> Exception:
    if error.errno == errno.ENOENT:
        return RemotePathNotFound(path)
    if error.errno == errno.EACCES:
        return PermissionDenied(path)
    if error.errno is None and str(error) != _CLOSED_SOCKET:
        # SFTP's "failure", which says no more: most servers send it for a file in place of a directory.
        return NotADirectory(path)
    return ConnectionLost()


def open_channel(transport: Transport) -> Channel:
    """A channel for one command or subsystem. ConnectionLost, OperationTimeout, ChannelRefused."""
    from paramiko.ssh_exception import SSHException

    started = time.monotonic()
    try:
        return transport.open_session(timeout=_OPEN_S)
    except (SSHException, EOFError, OSError) as error:
        if not transport.is_active():
            raise ConnectionLost from error
        # Of several refusals at once paramiko names the first one only: the others have no class of their own.
        is_late = time.monotonic() - started >= _OPEN_S - 0.5
        raise (OperationTimeout if is_late else ChannelRefused) from error


def open_sftp(transport: Transport) -> SFTPClient:
    """An SFTP client on a channel of its own, for one thread. SftpUnavailable if the server has none."""
    from paramiko.ssh_exception import SSHException

    channel = open_channel(transport)
    try:
        with deadline(channel):
            try:
                channel.invoke_subsystem("sftp")
                channel.settimeout(STEP_S)
                return careful_client()(channel)
            except TimeoutError as error:
                raise OperationTimeout from error
            except (SSHException, EOFError, OSError) as error:
                raise (SftpUnavailable if transport.is_active() else ConnectionLost) from error
    except BaseException:
        close(channel)
        raise


class Command:
    """A remote command whose output is read piece by piece; standard input is at its end from the start.

    `status` is known after the output has been read to its end: the exit status, or -1 where the server sent none.
    """

    def __init__(self, transport: Transport, script: str) -> None:
        """Start it. ConnectionLost, OperationTimeout, ChannelRefused, or CommandRefused.

        `script` is one for `sh`, whatever the shell of the account is: fish and csh understand the words that start it, too.
        """
        from paramiko.ssh_exception import SSHException

        self.status = -1
        self.stderr = b""
        self._channel = open_channel(transport)
        try:
            with deadline(self._channel):
                try:
                    self._channel.exec_command(f"sh -c {shlex.quote(script)}")
                    self._channel.settimeout(STEP_S)
                    # An account that has SFTP only may start an SFTP process, which waits for input.
                    self._channel.shutdown_write()
                except (SSHException, EOFError, OSError) as error:
                    raise (CommandRefused if transport.is_active() else ConnectionLost) from error
        except BaseException:
            close(self._channel)
            raise

    def pieces(self) -> Iterator[bytes]:
        """Standard output; what arrives on standard error meanwhile is kept in `stderr`. OperationTimeout, ConnectionLost."""
        channel = self._channel
        quiet_since = time.monotonic()
        while True:
            moved = False
            while channel.recv_stderr_ready():
                data = channel.recv_stderr(_PIECE_BYTES)
                self.stderr = (self.stderr + data)[:_MAX_STDERR_BYTES]
                moved = bool(data)
                if not data:
                    break
            if channel.recv_ready():
                yield channel.recv(_PIECE_BYTES)
                moved = True
            if moved:
                quiet_since = time.monotonic()
                continue
            if channel.eof_received or channel.closed:
                if channel.recv_ready():
                    continue
                break
            if time.monotonic() - quiet_since > STEP_S:
                raise OperationTimeout
            time.sleep(_LOOK_S)  # not until the status: it may be there long before the end of the output
        if channel.closed and not channel.exit_status_ready() and not channel.eof_received:
            raise ConnectionLost
        if channel.status_event.wait(STEP_S):
            self.status = channel.exit_status

    def close(self) -> None:
        """End it; also wakes a thread that waits for its output."""
        close(self._channel)


class CommandRefused(SftpUnavailable):
    """The server runs no commands for this account; SFTP may still work."""
