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


class ServerUnreachable(Unavailable, ConnectionError):
    """Nobody answers, again and again."""

    def __init__(self, url: str) -> None:
        super().__init__(f"No answer from the server at {shown(url)}")


class Refused(RunicornError):
    """The server says why."""

    def __init__(self, status: int, detail: str, answer: dict[str, Any]) -> None:
        super().__init__(detail)
        self.status = status
        self.answer = answer


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
        """An answer; the request is repeated while nobody answers. Refused; ServerUnreachable in the end."""
        data = b"{}" if body is None else msgspec.json.encode(body)
        for wait_s in (*_WAITS_S, None):
            try:
                return self._request(method, self._target(path, query), data, len(data), "application/json")
            except BrokenConnection as error:
                if wait_s is None:
                    raise ServerUnreachable(self.url) from error
                time.sleep(wait_s)
        raise AssertionError

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
        while True:
            try:
                self._connection.request(method, target, cast(Any, body), headers)
                response = self._connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                raise BrokenConnection(str(error)) from error
            if response.status == 429 and isinstance(body, bytes):
                time.sleep(min(_MAX_WAIT_S, _retry_after(response)))
                continue
            return self._answer(response.status, data)

    def _answer(self, status: int, data: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        with contextlib.suppress(msgspec.MsgspecError):
            answer = msgspec.json.decode(data, type=dict[str, Any])
        if not 200 <= status < 300:
            raise Refused(status, str(answer.get("detail") or f"The server answered {status}"), answer)
        return answer


def _retry_after(response: http.client.HTTPResponse) -> float:
    text = response.headers.get("Retry-After") or ""
    return float(text) if text.isascii() and text.isdigit() else 1.0
