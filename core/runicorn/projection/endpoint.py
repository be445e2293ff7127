"""The projector's end of the socket: accepts workers, reads their requests, sends replies and notices.

Never blocks: a worker that does not read its notices is disconnected, and connects again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
from pathlib import Path

import msgspec

from runicorn.projection.wire import Message, Request, decode_message, encode_message, publish_address, socket_path

logger = logging.getLogger("runicorn.projection")

_MAX_UNSENT = 4 << 20
_MAX_REQUEST = 1 << 20


class Peer:
    """One connected worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.unsent = bytearray()


class Endpoint:
    """Listens on the Unix socket of a state directory, driven by the selector of the projector's loop."""

    def __init__(self, state_dir: Path, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._peers: set[Peer] = set()
        self._path = socket_path(state_dir)
        self._state_dir = state_dir
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o077)
        try:
            self._listener.bind(os.fspath(self._path))
        finally:
            os.umask(previous)
        self._listener.listen(64)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self)
        publish_address(state_dir, self._path)

    def accept(self, greeting: Message) -> None:
        """Take in a worker that knocks, and send it `greeting`."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # it left again, or there are no descriptors: it will knock again
            logger.warning("a client of the projector could not be accepted: %s", error.strerror)
            return
        connection.setblocking(False)
        peer = Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)
        self.send(peer, greeting)

    def receive(self, peer: Peer) -> list[Request]:
        """The complete requests that a worker has sent; disconnects it if it is gone or talks nonsense."""
        try:
            data = peer.connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        peer.received += data
        *lines, peer.received = peer.received.split(b"\n")
        try:
            messages = [decode_message(line) for line in lines]
        except msgspec.DecodeError:
            logger.warning("a client of the projector sent something unreadable")
            data = b""
            messages = []
        if not data or len(peer.received) > _MAX_REQUEST:
            self.drop(peer)
            return []
        return [message for message in messages if isinstance(message, Request)]

    def send(self, peer: Peer, message: Message) -> None:
        """Send without waiting, and with it what was broadcast before."""
        if peer in self._peers:
            peer.unsent += encode_message(message) + b"\n"
            self.flush(peer)

    def broadcast(self, message: Message) -> None:
        """Have a message sent to every worker, by its next `send` or by `flush_all`."""
        data = encode_message(message) + b"\n"
        for peer in self._peers:
            peer.unsent += data

    def flush_all(self) -> None:
        """Send what was broadcast."""
        for peer in [peer for peer in self._peers if peer.unsent]:
            self.flush(peer)

    def flush(self, peer: Peer) -> None:
        """Send what is waiting for this worker, as far as it takes it."""
        try:
            while peer.unsent:
                del peer.unsent[: peer.connection.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop(peer)
            return
        if len(peer.unsent) > _MAX_UNSENT:
            self.drop(peer)
            return
        waiting = selectors.EVENT_WRITE if peer.unsent else 0
        self._selector.modify(peer.connection, selectors.EVENT_READ | waiting, peer)

    def drop(self, peer: Peer) -> None:
        """Disconnect a worker."""
        if peer in self._peers:
            self._peers.discard(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()

    def close(self) -> None:
        """Disconnect everybody and stop listening."""
        for peer in list(self._peers):
            self.drop(peer)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        if self._path.parent != self._state_dir:
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()
