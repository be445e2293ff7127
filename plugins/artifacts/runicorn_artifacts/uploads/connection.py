"""Requests to a Runicorn server, with nothing but the standard library: the SDK stays light.

A connection is kept for the next request, and opened anew where it broke. For one thread at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from runicorn.plugin import BadInput, RunicornError, Unavailable, shown

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 120.0
_WAITS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_MAX_WAIT_S = 60.0
_PATIENCE_S = 600.0
"""With a server that answers, but cannot do it now: it is busy, builds its read models, or its disk does not answer."""


class ServerUnreachable(Unavailable, ConnectionError):
    """Nobody answers, again and again."""

    def __init__(self, url: str) -> None:
        super().__init__(f"No answer from the server at {shown(url)}")


class Refused(RunicornError):
    """The server says why."""

    def __init__(self, status: int, detail: str, answer: dict[str, Any], retry_after_s: float | None) -> None:
        super().__init__(detail)
        self.status = status
        self.answer = answer
        self.retry_after_s = retry_after_s

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered otherwise later."""
        return self.status in (429, 503)


class BrokenConnection(ConnectionError):
    """It broke while something was sent: look where the server is, and continue."""


class Connection:
    """To one server."""

    def __init__(self, url: str) -> None:
        """BadInput for what is no address of a server, such as `http://127.0.0.1:23300`."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise BadInput(f"Invalid value for url: {shown(url)!r} is not the address of a server")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._base = parts.path.rstrip("/")
        self._connection = kind(host, port, timeout=_TIMEOUT_S, blocksize=_BLOCK_BYTES)

    def ask(self, method: str, path: list[str], body: object = None, **query: str | int | None) -> dict[str, Any]:
        """An answer; the request is repeated while nobody answers, or the server cannot do it now.

        Refused, also when the server could not do it for ten minutes; ServerUnreachable in the end.
        """
        patience = Patience()
        while True:
            try:
                return self.ask_once(method, path, body, **query)
            except BrokenConnection as error:
                if not patience.is_left_without_answer():
                    raise ServerUnreachable(self.url) from error
            except Refused as error:
                if not patience.is_left_after(error):
                    raise

    def ask_once(self, method: str, path: list[str], body: object = None, **query: str | int | None) -> dict[str, Any]:
        """An answer. Refused; BrokenConnection, then nobody knows what the server has done."""
        data = b"{}" if body is None else msgspec.json.encode(body)
        return self._request(method, self._target(path, query), data, len(data), "application/json")

    def send(self, path: list[str], file: BinaryIO, length: int, **query: str | int | None) -> dict[str, Any]:
        """Send the next `length` bytes of a file. Refused; BrokenConnection, then nobody knows how much has arrived."""
        return self._request("PUT", self._target(path, query), file, length, "application/octet-stream")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _target(self, path: list[str], query: dict[str, str | int | None]) -> str:
        given = {key: value for key, value in query.items() if value is not None}
        end = f"?{urlencode(given)}" if given else ""
        return f"{self._base}/api/{'/'.join(quote(part, safe='') for part in path)}{end}"

    def _request(
        self, method: str, target: str, body: bytes | BinaryIO, length: int, media_type: str
    ) -> dict[str, Any]:
        headers = {"Content-Type": media_type, "Content-Length": str(length)}
        try:
            self._connection.request(method, target, cast(Any, body), headers)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise BrokenConnection(str(error)) from error
        answer: dict[str, Any] = {}
        with contextlib.suppress(msgspec.MsgspecError):
            answer = msgspec.json.decode(data, type=dict[str, Any])
        if not 200 <= response.status < 300:
            detail = str(answer.get("detail") or f"The server answered {response.status}")
            raise Refused(response.status, detail, answer, _retry_after(response))
        return answer


class Patience:
    """How long the same request is repeated, with growing pauses. It is new for each request, and after any progress."""

    def __init__(self) -> None:
        self._unanswered = self._refused = 0
        self._until: float | None = None

    def is_left_without_answer(self) -> bool:
        """Wait a while after nobody has answered; False if that was often enough."""
        if self._unanswered >= len(_WAITS_S):
            return False
        time.sleep(_WAITS_S[self._unanswered])
        self._unanswered += 1
        return True

    def is_left_after(self, error: Refused) -> bool:
        """Wait a while after the server could not do it now; False if it never will, or could not for long enough."""
        if not error.is_passing:
            return False
        now = time.monotonic()
        if self._until is None or error.answer.get("committing"):  # however long that takes, it comes to an end
            self._until = now + _PATIENCE_S
        if now >= self._until:
            return False
        time.sleep(min(_MAX_WAIT_S, error.retry_after_s or _WAITS_S[min(self._refused, len(_WAITS_S) - 1)]))
        self._unanswered, self._refused = 0, self._refused + 1
        return True


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    text = response.headers.get("Retry-After") or ""
    return float(text) if text.isascii() and text.isdigit() else None
