"""A whole version in one request, as `multipart/form-data`: what `curl -F` sends.

Each part with a file name is a file of the version, at the path that the file name says. The other parts are texts:
`description`, `metadata` and `references` (JSON), `digests` (JSON: digests that files must have, by path), `tag` and `alias`
(any number), `run_id`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from runicorn.plugin import BadInput, TooLarge, check_space, shown
from runicorn_artifacts.manifest import FileEntry
from runicorn_artifacts.uploads.content import seal
from runicorn_artifacts.uploads.draft import (
    DeclaredReference,
    Draft,
    check_facts,
    check_paths,
    checked_path,
    digest_in,
    unique,
)
from runicorn_artifacts.uploads.errors import OtherDigest
from runicorn_artifacts.uploads.limits import UploadLimits
from runicorn_artifacts.uploads.receiving import SenderGone, announced_bytes

T = TypeVar("T")

_WRITE_BYTES = 1 << 20
_MAX_TEXTS = 1 << 20
_TEXTS = ("description", "metadata", "references", "digests", "tag", "alias", "run_id")


class ReceivedFile:
    """A file that was received, as yet unnamed."""

    def __init__(self, path: str, copy: Path) -> None:
        self.path = path
        self.copy = copy
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = copy.open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        """Of what was received."""
        return self._hash.hexdigest()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append."""
        check_space(self.copy.parent, sum(map(len, pieces)))
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]
            self._hash.update(piece)
            self.size += len(piece)

    def close(self) -> None:
        """Nothing comes any more."""
        self._file.close()

    def seal(self) -> None:
        """Make it read-only, and wait until it is on disk."""
        with open(self.copy, "rb") as written:
            seal(written.fileno(), executable=False)
            os.fsync(written.fileno())

    @property
    def entry(self) -> FileEntry:
        """As the manifest will have it; a form does not say when its files were modified."""
        return FileEntry(self.path, self.size, f"sha256:{self.sha256}")


async def receive_form(
    request: Request[Any, Any, Any], body: AsyncIterator[bytes], folder: Path, limits: UploadLimits
) -> tuple[Draft, list[ReceivedFile]]:
    """The version that a request describes in its body, its files in `folder`.

    BadInput for what cannot be saved, TooLarge beyond the limits, OtherDigest, StorageUnavailable or OSError if the disk
    has no room for it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise BadInput("Missing required field: file")
    announced = announced_bytes(request)
    if announced > limits.version_bytes + _MAX_TEXTS * 2:
        raise TooLarge
    await asyncio.to_thread(check_space, folder, announced)
    form = _Form(folder, limits)
    try:
        with PushMultipartParser(boundary, max_segment_count=limits.version_files + 1000) as parser:
            async for chunk in body:
                if chunk and not parser.closed:
                    for event in parser.parse(chunk):
                        form.take(event)
                    if form.waiting_bytes >= _WRITE_BYTES:
                        await asyncio.to_thread(form.write)
            await asyncio.to_thread(form.write)
    except MultipartError as error:
        raise BadInput("The form is truncated or damaged") from error
    except InternalServerException as error:
        raise SenderGone from error
    finally:
        form.close()
    return await asyncio.to_thread(form.finish)


class _Form:
    """What has come of a form so far. `take` is for the event loop, the rest for threads."""

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._files: list[ReceivedFile] = []
        self._paths: list[str] = []
        self._texts: dict[str, list[bytearray]] = {name: [] for name in _TEXTS}
        self._text_bytes = self._file_bytes = 0
        self._text: bytearray | None = None
        self._in_file = False
        self._waiting: list[tuple[int, bytes]] = []
        """Number of a file, and a piece of it; an empty one at its beginning."""
        self.waiting_bytes = 0

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """One event of the parser."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event and self._in_file:
            self._file_bytes += len(event)
            if self._file_bytes > self._limits.version_bytes:
                raise TooLarge
            self._waiting.append((len(self._paths) - 1, bytes(event)))
            self.waiting_bytes += len(event)
        elif event:
            self._text_bytes += len(event)
            if self._text_bytes > _MAX_TEXTS:
                raise TooLarge
            if self._text is not None:
                self._text += event

    def _begin(self, segment: MultipartSegment) -> None:
        self._in_file = bool(segment.filename)
        self._text = None
        if segment.filename:
            self._paths.append(checked_path(segment.filename))
            if len(self._paths) > self._limits.version_files:
                raise TooLarge
            self._waiting.append((len(self._paths) - 1, b""))
            self.waiting_bytes += 4096  # files of their own, each with a descriptor
        elif segment.name in self._texts:
            self._text = bytearray()
            self._texts[segment.name].append(self._text)

    def write(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self.waiting_bytes = self._waiting, [], 0
        for number, piece in waiting:
            if number == len(self._files):
                if self._files:
                    self._files[-1].close()
                self._files.append(ReceivedFile(self._paths[number], self._folder / f"copy-{number}"))
            self._files[number].write([piece])

    def close(self) -> None:
        """Release the file that was being written."""
        if self._files:
            self._files[-1].close()

    def finish(self) -> tuple[Draft, list[ReceivedFile]]:
        """What the form says. BadInput or OtherDigest."""
        draft = Draft(
            description=self._one("description") or "",
            metadata=self._json("metadata", dict[str, Any]) or {},
            references=self._json("references", list[DeclaredReference]) or [],
            tags=unique(self._all("tag")),
            aliases=unique(self._all("alias")),
            run_id=self._one("run_id") or None,
        )
        check_facts(draft)
        check_paths(self._paths)
        if not self._files and not draft.references:
            raise BadInput("Missing required field: file")
        digests = self._json("digests", dict[str, str]) or {}
        for file in self._files:
            expected = digests.pop(file.path, None)
            if expected is not None and digest_in(expected) != file.sha256:
                raise OtherDigest(file.path)
        if digests:
            raise BadInput(f"Invalid value for digests: no such file: {shown(next(iter(digests)))}")
        for file in self._files:
            file.seal()
        return draft, self._files

    def _all(self, name: str) -> list[str]:
        try:
            return [text.decode() for text in self._texts[name]]
        except UnicodeDecodeError as error:
            raise BadInput(f"Invalid value for {name}: must be UTF-8") from error

    def _one(self, name: str) -> str | None:
        found = self._all(name)
        return found[-1] if found else None

    def _json(self, name: str, type: type[T]) -> T | None:
        text = self._one(name)
        if not text:
            return None
        try:
            return msgspec.json.decode(text, type=type)
        except (msgspec.MsgspecError, RecursionError) as error:
            kind = "a JSON object" if name != "references" else "a JSON list of references"
            raise BadInput(f"Invalid value for {name}: must be {kind}") from error
