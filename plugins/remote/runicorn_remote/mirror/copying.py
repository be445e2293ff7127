"""Bringing one file: what to do with it, and doing it. Readers here see the old or the new content, and whole lines."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from runicorn.plugin import parse_json
from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.mirror.local_tree import LocalStat, Place
from runicorn_remote.mirror.state import FileState
from runicorn_remote.mirror.units import is_append_only
from runicorn_remote.pipeline import Fetched, Pipeline

COMPARED_BYTES = 4096
"""How many bytes before the end of a local copy must equal the remote ones, or the remote file was rewritten."""

_ATTEMPTS = 3
_MAX_HELD_BYTES = 8 << 20
_MAX_JSON_BYTES = 16 << 20
"""Larger ones are installed without a look: nobody writes one of ours, and parsing takes many times its memory."""

_BROKEN_S = 10.0
_TORN_S = 0.4
"""A torn last line that nobody completes for so long is brought as it is, with the next look at it."""

Action = Literal["nothing", "append", "replace"]


class Moved(Exception):
    """The file changed while it was read: the next scan brings it."""


def plan(file: RemoteFile, known: FileState | None, local: LocalStat | None) -> Action:
    """What has to be done with a file. Remote and local clocks are never compared."""
    if local is None:
        return "replace"
    if not is_append_only(file.path):
        is_ours = known is not None and local == LocalStat(known.local_size, known.local_mtime_ns)
        unchanged = known is not None and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)
        return "nothing" if is_ours and unchanged else "replace"
    if known is None:  # an earlier process brought it, and did not come to write that down
        return "append" if 0 < local.size <= file.size else "replace"
    if local != LocalStat(known.local_size, known.local_mtime_ns):
        return "replace"
    if (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
        return "append" if known.local_size < file.size else "nothing"  # a torn last line that nobody completes
    return "append" if file.size > known.local_size else "replace"


class Copier:
    """Brings files through one pipeline. `brought_bytes` and `appended_bytes` count what was written."""

    def __init__(self, pipeline: Pipeline, remote_root: str) -> None:
        self._pipeline = pipeline
        self._remote_root = remote_root.rstrip("/")
        self._broken: dict[str, tuple[bytes, float]] = {}
        self._torn: dict[str, float] = {}
        """Since when the last line of a stream is waited for; it is looked at several times in an interval."""
        self.copied_bytes = 0
        self.appended_bytes = 0

    def remote_path(self, path: str) -> str:
        """The absolute path of a file on the server."""
        return f"{self._remote_root}/{path}"

    def append(
        self, file: RemoteFile, known: FileState | None, place: Place, local: LocalStat, *, base: int = 0
    ) -> FileState | None:
        """Append what the file has grown by, up to its listed size. None if it is another file now: replace it.

        `base`: the first bytes there that are left out here; sizes are those of what is behind them.
        """
        start = max(0, local.size - COMPARED_BYTES)
        end = max(file.size, local.size)
        pieces = self._pipeline.read(self.remote_path(file.path), base + start, base + end)
        here = place.tail(local.size, local.size - start)
        rest, same = _after(pieces, here)
        if not same:
            return None
        is_unchanged = known is not None and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)
        is_left = is_unchanged and time.monotonic() - self._torn.get(file.path, -math.inf) >= _TORN_S
        if file.path.endswith(".jsonl") and not is_left:
            rest = _whole_lines(rest)
        written = place.append(local.size, rest)
        self.appended_bytes += written
        return self._state(file, place, is_unchanged=is_unchanged)

    def replace(self, file: RemoteFile, place: Place, *, base: int = 0, is_json: bool = False) -> FileState:
        """Copy the whole file and put it in place. `base`: as for `append`.

        Moved if it does not hold still, or is to be JSON and was cut short.
        """
        for _ in range(_ATTEMPTS):
            with place.replacement() as replacement:
                path = self.remote_path(file.path)
                if is_append_only(file.path):  # what was there when it was listed is a beginning of what there is now
                    written = replacement.write(_prefix(self._pipeline.read(path, base, base + file.size), file.path))
                    if written == file.size or file.path.endswith(".jsonl"):
                        replacement.install()
                        return self._installed(file, place, written)
                    continue
                before = self._pipeline.stat(path)
                place.require_room(before.size)  # it may have been listed with another size
                written = replacement.write(self._pipeline.read(path, 0, before.size))
                if before == self._pipeline.stat(path) and written == before.size:
                    if is_json and written <= _MAX_JSON_BYTES:
                        self._check_json(file.path, replacement.content())
                    replacement.install()
                    return self._installed(msgspec.structs.replace(file, size=written), place, written)
        raise Moved(file.path)

    def install(self, file: RemoteFile, fetched: Fetched, place: Place) -> FileState:
        """Put a small file in place that was fetched. Moved if it did not hold still, or is a JSON file cut short."""
        data = fetched.data
        if is_append_only(file.path):
            if len(data) < file.size:
                raise Moved(file.path)
            data = b"".join(_prefix([data[: file.size]], file.path))
        elif not fetched.is_settled:
            raise Moved(file.path)
        elif file.path.endswith(".json"):
            self._check_json(file.path, data)
        with place.replacement() as replacement:
            replacement.write([data])
            replacement.install()
        size = file.size if is_append_only(file.path) else len(data)
        return self._installed(msgspec.structs.replace(file, size=size), place, len(data))

    def _installed(self, file: RemoteFile, place: Place, written: int) -> FileState:
        self.copied_bytes += written
        return self._state(file, place)

    def _state(self, file: RemoteFile, place: Place, *, is_unchanged: bool = False) -> FileState:
        after = place.set_mtime(file.mtime_ns)
        if after.size >= file.size:
            self._torn.pop(file.path, None)
        elif not is_unchanged:
            self._torn[file.path] = time.monotonic()
        return FileState(file.size, file.mtime_ns, after.size, after.mtime_ns)

    def _check_json(self, path: str, data: bytes) -> None:
        """Moved if the content is no JSON, unless it has been the same for 10 s: then the source itself is broken."""
        try:
            parse_json(data)
        except ValueError:
            digest = hashlib.sha256(data).digest()
            seen, since = self._broken.get(path, (b"", 0.0))
            if seen != digest:
                self._broken[path] = (digest, time.monotonic())
                raise Moved(path) from None
            if time.monotonic() - since < _BROKEN_S:
                raise Moved(path) from None
        self._broken.pop(path, None)


def _after(pieces: Iterator[bytes], expected: bytes) -> tuple[Iterator[bytes], bool]:
    """What follows the bytes that are here already, and whether the remote ones are the same."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(expected):
            break
    return _chained(head[len(expected) :], pieces), head[: len(expected)] == expected


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _prefix(pieces: Iterable[bytes], path: str) -> Iterable[bytes]:
    return _whole_lines(pieces) if path.endswith(".jsonl") else pieces


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, cut so that each ends in a newline; a torn last line is left out."""
    held = b""
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield held + piece[:end]
            held = piece[end:]
        else:
            held += piece
            if len(held) > _MAX_HELD_BYTES:  # readers wait for its end as well
                yield held
                held = b""
