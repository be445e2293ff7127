"""Whether a stream there and the one here have the same beginning, without bringing it here.

What is short is read and compared as a whole. Of what is longer, the server works out a checksum, where it runs commands;
elsewhere, and beyond 2 GiB, both ends and thirty places between them are compared.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from typing import BinaryIO

from runicorn_remote.channels import CommandRefused
from runicorn_remote.connection import Connection
from runicorn_remote.errors import OperationTimeout
from runicorn_remote.pipeline import PIECE_BYTES
from runicorn_remote.push.writing import WritingPipeline

WHOLE_BYTES = 128 << 10
"""Up to this length, reading it is as quick as anything."""

_HASHED_BYTES = 2 << 30
"""A checksum of more may take longer than a step may go without a sign of life."""
_SAMPLES = 32
_PIECE_BYTES = 1 << 20
_CHECKSUM = re.compile(rb"RN3 ([0-9a-f]{64})")


def is_same_beginning(
    connection: Connection, pipeline: WritingPipeline, path: str, content: BinaryIO, count: int
) -> bool:
    """Whether the first `count` bytes of the remote file `path` are those of `content`. Errors of the connection."""
    if count <= WHOLE_BYTES:
        content.seek(0)
        return b"".join(pipeline.read(path, 0, count)) == content.read(count)
    if count <= _HASHED_BYTES and not connection.has_no_commands:
        there = _checksum_there(connection, path, count)
        if there is not None:
            return there == _checksum_here(content, count)
    places = _places(count)
    for (offset, length), piece in zip(places, pipeline.samples(path, places), strict=True):
        content.seek(offset)
        if piece != content.read(length):
            return False
    return True


def _checksum_there(connection: Connection, path: str, count: int) -> str | None:
    """None where the server does not tell: no commands, no such program, or not in time."""
    # macOS and BSD have `shasum` in place of `sha256sum`; what is not found has read nothing.
    script = f"printf 'RN3 '; head -c {count} {shlex.quote(path)} | {{ sha256sum || shasum -a 256; }} 2>/dev/null"
    try:
        command = connection.run(script)
    except CommandRefused:
        connection.has_no_commands = True
        return None
    output = b""
    try:
        for piece in command.pieces():
            output = (output + piece)[-_PIECE_BYTES:]
    except OperationTimeout:
        return None
    finally:
        command.close()
    found = _CHECKSUM.search(output)
    return None if found is None else found[1].decode()


def _checksum_here(content: BinaryIO, count: int) -> str:
    digest = hashlib.sha256()
    content.seek(0)
    while count > 0 and (piece := content.read(min(count, _PIECE_BYTES))):
        digest.update(piece)
        count -= len(piece)
    return digest.hexdigest()


def _places(count: int) -> list[tuple[int, int]]:
    """Both ends, and places at even distances; `count` is more than all of them take."""
    last = count - PIECE_BYTES
    offsets = [last * number // (_SAMPLES - 1) for number in range(_SAMPLES)]
    return [(offset, PIECE_BYTES if offset in (0, last) else 4096) for offset in offsets]
