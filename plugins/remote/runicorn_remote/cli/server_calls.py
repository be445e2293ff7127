"""Calls of a Runicorn server by commands, with the standard library."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click
import msgspec

DEFAULT_URL = "http://127.0.0.1:23300"

_TIMEOUT_S = 30.0
_PATIENCE_S = 15.0
_PAUSE_S = 0.5


class Server:
    """One server. Its errors are click.ClickExceptions with what it says."""

    def __init__(self, url: str) -> None:
        """BadParameter for what is no address of a server."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_fine, parts = False, urlsplit("")
        if not is_fine or "@" in parts.netloc:
            raise click.BadParameter(f"the address of a server is expected, such as {DEFAULT_URL}", param_hint="--url")
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    def ask(
        self, method: str, path: list[str], body: object = None, *, patience_s: float = 0.0, **query: str | None
    ) -> dict[str, Any]:
        """An answer. Where nobody answers, the request is repeated for `patience_s`: only for those that change nothing."""
        given = {key: value for key, value in query.items() if value is not None}
        target = f"{self._base}/api/{'/'.join(quote(part, safe='') for part in path)}"
        data = None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(
            f"{target}?{urlencode(given)}" if given else target,
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                    return msgspec.json.decode(response.read(), type=dict[str, Any])
            except urllib.error.HTTPError as error:
                with error:
                    raise click.ClickException(_detail(error.code, error.read())) from error
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() >= deadline:
                    raise click.ClickException(
                        f"No server answers at {self._base}; is `runicorn serve` running, and on this port?"
                    ) from error
                time.sleep(_PAUSE_S)

    def look(self, path: list[str]) -> dict[str, Any]:
        """An answer of a GET, which may be waited for while the server starts again."""
        return self.ask("GET", path, patience_s=_PATIENCE_S)


def _detail(status: int, body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any])["detail"])
    except (msgspec.MsgspecError, KeyError):
        return f"The server answered {status}"
