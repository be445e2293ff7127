"""How a route answers with a file.

The framework is imported only when that happens: plugins import this module on the command line, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from litestar import Response


def file_response(
    file: BinaryIO, media_type: str, headers: Mapping[str, str] | None = None, *, etag: str | None = None
) -> Response[bytes]:
    """The response to a GET that sends `file`, and closes it.

    Parts (`Range`, `If-Range`, 206, 416) and copies that the client has already (ETag, 304) are taken care of. What is
    sent was in the file when sending began; one that becomes shorter meanwhile, or cannot be read on, breaks the
    connection. `etag` (with its quotes) names content that never changes; without one it follows from the file's state.
    """
    from runicorn.server.sent_file import FileResponse

    return FileResponse(file, media_type, headers or {}, etag)
