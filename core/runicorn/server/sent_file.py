"""A route's answer that is an open file: parts of it, its ETag and 304 are taken care of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from runicorn.server.files import Headers, send_open_file


class FileResponse(Response[bytes]):
    """Sends `file`, then closes it. Understands `Range`, `If-Range`, `If-None-Match` and `If-Modified-Since`."""

    def __init__(self, file: BinaryIO, media_type: str, headers: Mapping[str, str], etag: str | None = None) -> None:
        super().__init__(b"", media_type=media_type, headers=dict(headers))
        self._file = file
        self._etag = etag

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **_: Any) -> ASGIResponse:
        """What the framework calls to send the answer."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        return _SentFile(self._file, [*headers, (b"content-type", str(self.media_type).encode())], self._etag)


class _SentFile(ASGIResponse):
    def __init__(self, file: BinaryIO, headers: Headers, etag: str | None) -> None:
        super().__init__()
        self._file = file
        self._etag = etag
        self._file_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await send_open_file(scope, send, self._file, self._file_headers, self._etag)
