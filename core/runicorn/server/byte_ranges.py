"""`Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14): which part of a file a client wants."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)


class PartMissing(Exception):
    """The file ends before the part begins."""


def wanted_part(header: bytes | None, size: int) -> tuple[int, int] | None:
    """First byte and length of the wanted part; None for the whole. PartMissing.

    A header that is not understood counts as absent, as the standard has it. So do several ranges at once: the whole file
    is a legal answer to those.
    """
    found = None if header is None else _ONE_RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if not length:
            raise PartMissing
        return size - length, length
    first = int(found[1])
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise PartMissing
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    return first, last - first + 1


def is_still(if_range: bytes | None, etag: str, modified: str) -> bool:
    """Whether the file is the one of which the client has a part already: the tag (or date) must be exactly the same."""
    return if_range is None or if_range.strip() in (etag.encode(), modified.encode())
