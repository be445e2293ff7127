"""What is made of streams away from the tables, and how: each is read, and given to projections that prepare it.

Short streams go through the steps together: every projection takes several of them, one after the other, before the next
one does. So the code of a step, and what it looks up, stay in the processor's caches; a run takes a fifth less time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msgspec.structs import astuple

from runicorn.events.envelope import Lines
from runicorn.events.log import FileLog, Position, Stream, StreamKind, StreamReplaced
from runicorn.host import describe
from runicorn.patience import Patience
from runicorn.projection.base import Batch, Preparation, PreparesStreams, Projection
from runicorn.projection.checkpoints import Reached

_TOGETHER = 16  # streams; with 64, what they hold outgrows the caches
_SHORT_BYTES = 32 << 10


class Prepared(NamedTuple):
    """What a process has made of the next piece of a stream."""

    stream: Stream
    bytes: int
    events: int
    values: dict[str, list[object]]
    """By plugin: what each of its projections prepared."""
    end: Reached | None

    def packed(self) -> tuple[object, ...]:
        """The same in tuples: they pass in half the time that classes take."""
        end = self.end
        reached = None if end is None else (end.offset, astuple(end.position), end.head, end.bad, end.checksum)
        return self.stream.kind, self.stream.name, self.bytes, self.events, self.values, reached

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...]) -> Prepared:
        """What was packed."""
        kind, name, size, events, values, reached = packed
        if reached is None:
            return cls(Stream(kind, name), size, events, values, None)
        offset, position, head, bad, checksum = reached
        return cls(Stream(kind, name), size, events, values, Reached(offset, Position(*position), head, bad, checksum))


class NotPrepared(NamedTuple):
    """The stream changed while it was read, or could not be read: what was sent of it is void."""

    stream: Stream


class PreparationFailed(Exception):
    """A projection raised."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, reason)
        self.plugin = plugin
        self.reason = reason


Preparing: TypeAlias = Mapping[str, Sequence[tuple[Callable[[Stream], Preparation], frozenset[StreamKind]] | None]]
"""By plugin, for each of its projections: how it prepares a stream, and the kinds that it is given; None: it does not."""


def preparing(projections: Mapping[str, Sequence[Projection]]) -> Preparing:
    """How these projections, by plugin, prepare streams."""
    # It is asked once: for a protocol, `isinstance` takes microseconds.
    return {
        plugin: [(one.preparation, one.streams) if isinstance(one, PreparesStreams) else None for one in found]
        for plugin, found in projections.items()
    }


def prepare(
    log: FileLog, how: Preparing, streams: Iterable[Stream], patience: Patience
) -> Iterator[Prepared | NotPrepared]:
    """What becomes of the streams; that of one stream in order. PreparationFailed if a projection raises."""
    short: list[_Piece] = []
    for stream in streams:
        reading = _Reading(log, stream)
        piece = reading.next()
        if piece is None:
            yield NotPrepared(stream)
        elif piece.end is None or piece.size > _SHORT_BYTES:
            yield from _prepare_long(how, reading, piece, patience)
        else:
            short.append(piece)
            if len(short) >= _TOGETHER:
                yield from _prepare_short(how, short, patience)
                short = []
    yield from _prepare_short(how, short, patience)


class _Piece(NamedTuple):
    """What one read of a stream has found."""

    stream: Stream
    size: int
    lines: Lines
    end: Reached | None
    """Not None: nothing complete is left."""

    def batch(self) -> Batch | None:
        """Its events, for all projections: what they decode together, they find there."""
        return Batch(self.stream, 0, self.lines) if self.size else None

    def prepared(self, values: dict[str, list[object]]) -> Prepared:
        return Prepared(self.stream, self.size, len(self.lines.events), values, self.end)


class _Reading:
    """A stream from its start on."""

    def __init__(self, log: FileLog, stream: Stream) -> None:
        self._log = log
        self._stream = stream
        self._after = self._bad = self._checksum = 0
        self._head = b""
        self._inode: int | None = None

    def next(self) -> _Piece | None:
        """None: it is not what it was when the piece before was read, or cannot be read."""
        start = self._after
        try:
            lines, position, is_level = self._log.read_part(self._stream, after=start, head=self._head)
        except (StreamReplaced, OSError):
            return None
        if self._inode not in (None, position.inode):
            return None
        if lines.end == 0 and self._log.position(self._stream) is None:  # a named pipe, say: nothing can be read off it
            return None
        self._inode, self._after = position.inode, lines.end
        if start == 0:
            self._head = lines.head
        self._bad += len(lines.bad)
        self._checksum = lines.checksum(self._checksum)
        end = Reached(lines.end, position, self._head, self._bad, self._checksum) if is_level else None
        return _Piece(self._stream, lines.end - start, lines, end)


def _prepare_long(
    how: Preparing, reading: _Reading, piece: _Piece | None, patience: Patience
) -> Iterator[Prepared | NotPrepared]:
    assert piece is not None
    stream = piece.stream
    preparations: dict[str, list[Preparation | None]] = {}
    for plugin, found in how.items():
        with _blamed(plugin, patience):
            preparations[plugin] = [_begun(one, stream) for one in found]
    while piece is not None:
        values: dict[str, list[object]] = {}
        batch = piece.batch()
        for plugin, begun in preparations.items():
            with _blamed(plugin, patience):
                values[plugin] = [_take(one, batch, is_end=piece.end is not None) for one in begun]
        yield piece.prepared(values)
        if piece.end is not None:
            return
        piece = reading.next()
    yield NotPrepared(stream)


def _prepare_short(how: Preparing, pieces: Sequence[_Piece], patience: Patience) -> Iterator[Prepared]:
    batches = [piece.batch() for piece in pieces]
    values: list[dict[str, list[object]]] = [{plugin: [] for plugin in how} for _ in pieces]
    for plugin, found in how.items():
        for one in found:
            with _blamed(plugin, patience):
                begun = [_begun(one, piece.stream) for piece in pieces]
                for preparation, batch in zip(begun, batches, strict=True):
                    if preparation is not None and batch is not None:
                        preparation.add(batch)
                for preparation, taken in zip(begun, values, strict=True):
                    taken[plugin].append(None if preparation is None else preparation.take(is_end=True))
    for piece, taken in zip(pieces, values, strict=True):
        yield piece.prepared(taken)


def _begun(
    one: tuple[Callable[[Stream], Preparation], frozenset[StreamKind]] | None, stream: Stream
) -> Preparation | None:
    return None if one is None or stream.kind not in one[1] else one[0](stream)


def _take(preparation: Preparation | None, batch: Batch | None, *, is_end: bool) -> object:
    if preparation is None:
        return None
    if batch is not None:
        preparation.add(batch)
    return preparation.take(is_end=is_end)


@contextlib.contextmanager
def _blamed(plugin: str, patience: Patience) -> Generator[None]:
    try:
        with patience.call(plugin, "preparation"):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's projection may raise anything
        raise PreparationFailed(plugin, describe(error)) from error
