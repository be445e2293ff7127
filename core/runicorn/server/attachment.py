"""The header by which an answer is saved under a name."""

from __future__ import annotations

import re
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_NOT_QUOTABLE = re.compile(r'[^ -~]|["\\%/]')


def attachment(filename: str) -> dict[str, str]:
    """`Content-Disposition` for a file name of any characters: others than plain ones also as UTF-8 (RFC 6266)."""
    if _PLAIN.fullmatch(filename):
        return {"Content-Disposition": f"attachment; filename={filename}"}
    fallback = _NOT_QUOTABLE.sub("_", filename)
    encoded = quote(filename.encode("utf-8", "replace"), safe="")
    return {"Content-Disposition": f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{encoded}"}
