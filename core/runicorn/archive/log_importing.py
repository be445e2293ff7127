"""Importing a log: what is new is put together out of sight, and added to the streams of a store when all is well.

Nothing is overwritten. A stream that is not there is made; one that holds the beginning of what is imported grows; one that
holds it already stays. One that says something else is a conflict, and then nothing is imported at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.limits import Limits, Meter
from runicorn.archive.log_exporting import is_importable_stream
from runicorn.archive.log_format import PackedStream, packed_streams
from runicorn.archive.staging import only_import
from runicorn.errors import StorageUnavailable
from runicorn.events.artifact import ARTIFACT_LOCK_FILE
from runicorn.events.log import FileLog, Stream
from runicorn.files import file_lock, open_to_read, sync_directory
from runicorn.run_files import is_inside

_LOCK_S = 30.0
_PIECE = 256 << 10

Relation = Literal["new", "grown", "same", "longer", "conflict", "refused"]
_ORDER = {"run": 0, "artifact": 1, "store": 2}  # what the store stream speaks of is there before it


class ImportedLog(msgspec.Struct, frozen=True):
    """What an import has done, or would do. Names of streams, sorted."""

    new: list[str]
    grown: list[str]
    """They held the beginning."""
    same: list[str]
    longer: list[str]
    """They hold all of it, and more."""
    conflicts: list[str]
    """They say something else, or what lies in their place is no file of the store."""
    refused: list[str]
    """Names that are none of a stream."""
    bytes: int
    """That were added, or would be."""

    @property
    def is_possible(self) -> bool:
        """Whether nothing stands against it."""
        return not self.conflicts and not self.refused


class _Planned(msgspec.Struct):
    stream: Stream
    relation: Relation
    before: int
    """Bytes that are there."""
    size: int
    """Bytes that will be there."""
    rest: Path | None
    """What is to be added, in the staging directory."""


def import_log(
    root: Path,
    state_dir: Path,
    file: BinaryIO,
    staging: Path | None,
    *,
    limits: Limits,
    tick: Callable[[int], None] = lambda count: None,
) -> ImportedLog:
    """Import a log through a staging directory of the root; without one, only find out what would be done.

    `tick` hears how many bytes were unpacked. UnusableArchive or StorageUnavailable if nothing was imported; nothing is, too,
    where the result is not possible. Should the disk fail in the middle, or somebody else write to a stream, every stream
    holds a beginning of what is imported, and importing it again goes on there.
    """
    log = FileLog(root, state_dir)
    meter = Meter(limits, staging, tick)
    planned: dict[str, _Planned] = {}
    try:
        for packed in packed_streams(file):
            meter.member()
            if packed.name in planned:
                raise UnusableArchive("truncated or damaged")
            rest = None if staging is None else staging / f"stream-{len(planned)}"
            planned[packed.name] = _plan(log, packed, rest, meter)
        result = _result(planned)
        if staging is not None and result.is_possible:
            with only_import(root):
                for one in sorted(planned.values(), key=lambda one: (_ORDER[one.stream.kind], one.stream.name)):
                    _add(log, one)
    except OSError as error:
        raise StorageUnavailable(f"The log cannot be imported: {error.strerror}") from error
    return result


def _result(planned: dict[str, _Planned]) -> ImportedLog:
    def names(relation: Relation) -> list[str]:
        return sorted(name for name, one in planned.items() if one.relation == relation)

    added = sum(one.size - one.before for one in planned.values() if one.relation in ("new", "grown"))
    return ImportedLog(
        names("new"), names("grown"), names("same"), names("longer"), names("conflict"), names("refused"), added
    )


def _plan(log: FileLog, packed: PackedStream, rest: Path | None, meter: Meter) -> _Planned:
    """Read a stream, compare it with the one that is there, and put aside what that lacks."""
    if not is_importable_stream(packed.name):
        _pass_over(packed, meter)
        return _Planned(Stream("store", packed.name), "refused", 0, 0, None)
    stream = Stream.named(packed.name)
    path = Path(log.path(stream))
    if not _is_place(log.root if path.is_relative_to(log.root) else log.state_dir, path):
        _pass_over(packed, meter)
        return _Planned(stream, "conflict", 0, 0, None)
    is_there = path.exists()
    before, at, is_same = 0, 0, True
    with ExitStack() as opened:
        existing = opened.enter_context(open_to_read(path)) if is_there else None
        before = 0 if existing is None else os.fstat(existing.fileno()).st_size
        aside = None if rest is None else opened.enter_context(rest.open("wb"))
        for piece in packed.pieces():
            meter.unpacked(len(piece))
            known = piece[: max(0, before - at)]
            if known and existing is not None and is_same:
                is_same = existing.read(len(known)) == known
            if aside is not None and is_same:
                aside.write(piece[len(known) :])
            at += len(piece)
        if aside is not None:
            aside.flush()
            os.fsync(aside.fileno())
    relation: Relation = "same"
    if not is_same:
        relation = "conflict"
    elif not is_there:
        relation = "new"
    elif before != at:
        relation = "grown" if before < at else "longer"
    return _Planned(stream, relation, before, at, rest)


def _pass_over(packed: PackedStream, meter: Meter) -> None:
    for piece in packed.pieces():
        meter.unpacked(len(piece))


def _is_place(base: Path, path: Path) -> bool:
    """Whether a stream may be there: a file that is one already, or nothing, and no link on the way that leads elsewhere."""
    if not is_inside(base, path) or path.is_symlink():
        return False
    if path.exists():
        return path.is_file()
    above = path.parent
    while not os.path.lexists(above) and above != base:
        above = above.parent
    return above.is_dir() or not os.path.lexists(above)


def _add(log: FileLog, planned: _Planned) -> None:
    if planned.relation not in ("new", "grown") or planned.rest is None:
        return
    path = Path(log.path(planned.stream))
    if planned.relation == "new":
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(planned.rest, path)  # unlike a rename it replaces nothing
        except FileExistsError:
            raise _Appeared(planned.stream) from None
        sync_directory(path.parent)
        return
    lock = path.with_name(ARTIFACT_LOCK_FILE) if planned.stream.kind == "artifact" else f"{path}.lock"
    with file_lock(lock, timeout_s=_LOCK_S), planned.rest.open("rb") as rest:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != planned.before:
                raise _Appeared(planned.stream)
            _append(descriptor, rest, planned.before)
        finally:
            os.close(descriptor)


class _Appeared(StorageUnavailable):
    """Somebody else appended while the log was read."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(f"Somebody else wrote to {stream.name} meanwhile. Import the log again.")


def _append(descriptor: int, content: BinaryIO, before: int) -> None:
    try:
        while piece := content.read(_PIECE):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        raise
