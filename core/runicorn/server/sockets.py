"""Open WebSockets, so that all of them can be closed with a code of our own when the server or the root goes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

GOING_AWAY = 1001


class OpenSockets:
    """Runs WebSocket connections and remembers those that are open."""

    def __init__(self) -> None:
        self._open: set[_Socket] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let `app` talk to one client until either side closes."""
        socket = _Socket(receive, send)
        self._open.add(socket)
        try:
            await app(scope, socket.receive, socket.send)
        except asyncio.CancelledError:
            if not socket.closed.is_set():
                raise  # somebody else's wish, not the end of `close_all`
        except OSError:
            if not socket.closed.is_set():
                raise
        finally:
            self._open.discard(socket)

    async def close_all(self, code: int = GOING_AWAY, *, timeout_s: float = 0.5) -> None:
        """Close every socket; handlers that have not returned after `timeout_s` are cancelled."""
        sockets = list(self._open)
        await asyncio.gather(*(socket.close(code) for socket in sockets))
        tasks = [socket.task for socket in sockets if socket.task is not None and not socket.task.done()]
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=timeout_s)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck, timeout=timeout_s)


class _Socket:
    def __init__(self, receive: Receive, send: Send) -> None:
        self.closed = asyncio.Event()
        self.task = asyncio.current_task()
        self._receive = receive
        self._send = send
        self._code = GOING_AWAY

    async def receive(self) -> Any:
        """What the client says next, or that the socket was closed from here."""
        if self.closed.is_set():
            return {"type": "websocket.disconnect", "code": self._code}
        message = asyncio.ensure_future(self._receive())  # type: ignore[arg-type]  # Litestar's `Receive` gives a coroutine
        closed = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait((message, closed), return_when=asyncio.FIRST_COMPLETED)
            if message.done():
                return message.result()
            return {"type": "websocket.disconnect", "code": self._code}
        finally:
            message.cancel()
            closed.cancel()

    async def send(self, message: Any) -> None:
        """Send, unless the socket was closed from here: then the handler learns it as a lost connection."""
        if self.closed.is_set():
            raise ConnectionResetError("the server closed this WebSocket")
        await self._send(message)

    async def close(self, code: int) -> None:
        """Close the socket towards the client and tell the handler."""
        if not self.closed.is_set():
            self._code = code
            self.closed.set()
            with contextlib.suppress(Exception):  # it may be closing by itself just now
                await asyncio.wait_for(self._send({"type": "websocket.close", "code": code, "reason": ""}), 0.5)
