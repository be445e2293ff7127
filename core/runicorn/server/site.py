"""What is served outside of `/api`: the web front end, the API documentation, or a small page of our own.

Everything comes from this machine, so that it works without internet access.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from runicorn.server.errors import ErrorBody
from runicorn.server.files import Headers, find_file, send_file

ASSETS = Path(__file__).parent / "assets"

_PAGES = {"/docs": "swagger.html", "/redoc": "redoc.html"}
_DOCS_POLICY = (
    b"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"worker-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REVALIDATE = (b"cache-control", b"no-cache")
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")


def front_end_directory() -> Path | None:
    """Where the web front end is: `RUNICORN_FRONTEND_DIST`, else `RUNICORN_DESKTOP_FRONTEND`, if it exists."""
    for name in ("RUNICORN_FRONTEND_DIST", "RUNICORN_DESKTOP_FRONTEND"):
        value = os.environ.get(name)
        if value and os.path.isdir(os.path.expanduser(value)):
            return Path(os.path.abspath(os.path.expanduser(value)))
    return None


class Site:
    """An ASGI application for GET and HEAD. `openapi` makes the specification's JSON; it is asked once."""

    def __init__(self, openapi: Callable[[], bytes], front_end: Path | None) -> None:
        self._make_openapi = openapi
        self._openapi: asyncio.Task[bytes] | None = None
        self._front_end = front_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request: Any = scope
        path: str = request["path"]
        if request["method"] not in ("GET", "HEAD"):
            await _send_json(request, send, 405, ErrorBody(detail="Method Not Allowed"), [(b"allow", b"GET, HEAD")])
            return
        if path == "/openapi.json":
            await _send_bytes(request, send, 200, await self._specification(), [_REVALIDATE])
            return
        found = self._find(path, dict(request["headers"]).get(b"accept", b""))
        if found is None:
            await _send_json(request, send, 404, ErrorBody(detail="Not Found"), [])
            return
        await send_file(request, send, *found)

    def _find(self, path: str, accept: bytes) -> tuple[Path, Headers] | None:
        page = _PAGES.get(path.rstrip("/"))
        if page is not None:
            return ASSETS / page, [_REVALIDATE, (b"content-security-policy", _DOCS_POLICY)]
        if path.startswith("/docs/assets/"):
            asset = find_file(ASSETS, path.removeprefix("/docs/assets/"))
            return None if asset is None else (asset, [_REVALIDATE])
        if self._front_end is None:
            is_home = path in ("/", "/index.html")
            return (
                (ASSETS / "home.html", [_REVALIDATE, (b"content-security-policy", _PAGE_POLICY)]) if is_home else None
            )
        file = find_file(self._front_end, "index.html" if path == "/" else path)
        if file is not None:
            return file, [_FOR_EVER if path.startswith("/assets/") else _REVALIDATE]
        if b"text/html" in accept and ".." not in path.split("/"):
            # The front end routes by itself: `/runs/<id>` opened in a browser is a page of it.
            index = find_file(self._front_end, "index.html")
            return None if index is None else (index, [_REVALIDATE])
        return None

    async def _specification(self) -> bytes:
        if self._openapi is None or (self._openapi.done() and self._openapi.exception()):
            self._openapi = asyncio.create_task(asyncio.to_thread(self._make_openapi))
        return await asyncio.shield(self._openapi)


async def _send_json(scope: Any, send: Send, status: int, body: ErrorBody, headers: Headers) -> None:
    await _send_bytes(scope, send, status, msgspec.json.encode(body), headers)


async def _send_bytes(scope: Any, send: Send, status: int, content: bytes, headers: Headers) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})  # type: ignore[typeddict-item]  # no trailers
    content = b"" if scope["method"] == "HEAD" else content
    await send({"type": "http.response.body", "body": content, "more_body": False})
