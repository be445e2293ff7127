"""Bringing read models level with one stream: read each event once, give it to every model that lacks it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from runicorn.events.log import READ_BYTES, FileLog, Position, Stream, StreamReplaced
from runicorn.projection.model import ReadModel

logger = logging.getLogger("runicorn.projection")


class ModelFailed(Exception):
    """A projection raised: its read model stays at its checkpoint. The cause is the projection's exception."""

    def __init__(self, model: ReadModel, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.model = model


class Applied(msgspec.Struct, frozen=True):
    """What one call did: the bytes from `start` to `end` were applied; `more` is left to apply."""

    start: int
    end: int
    more: bool


_NOTHING = Applied(0, 0, more=False)


def catch_up(log: FileLog, models: Sequence[ReadModel], stream: Stream, *, limit: int = READ_BYTES) -> Applied:
    """Apply one read of about `limit` bytes of `stream` to the models that lack it.

    A stream that is gone, truncated or replaced is forgotten, and what is there now is applied from 0. Committed when
    this returns, unless the caller holds transactions of the models open. ModelFailed if a projection raises: then
    nothing was changed.
    """
    position = log.position(stream)
    if position is None:
        for model in models:
            model.forget(stream)
        return _NOTHING
    behind = [model for model in models if not _is_at(model, stream, position)]
    if not behind:
        return _NOTHING
    for model in behind:
        known = model.checkpoint(stream)
        if known is not None and known.offset and (known.inode != position.inode or known.offset > position.size):
            _start_over(model, stream)
    # Usually all stand at the same offset, and one read serves all; a model that is new lags behind.
    start = min(_offset(model, stream) for model in behind)
    same = [model for model in behind if _offset(model, stream) == start]
    known = same[0].checkpoint(stream)
    try:
        lines = log.read(stream, after=start, head=known.head if known else b"", limit=limit)
    except StreamReplaced:
        for model in same:
            _start_over(model, stream)
        return Applied(0, 0, more=True)
    except FileNotFoundError:
        return Applied(start, start, more=True)
    except OSError as error:
        logger.warning("stream %s cannot be read: %s", stream.name, error.strerror)
        return _NOTHING
    if lines.bad:
        logger.warning("stream %s: %d lines are not events; see `runicorn events verify`", stream.name, len(lines.bad))
    more = start < lines.end < position.size or len(same) < len(behind)
    if more:
        position = Position(lines.end, position.inode)  # this is not yet the stream's position
    for model in same:
        try:
            model.apply(stream, lines, position, lines.head if start == 0 else b"")
        except Exception as error:  # a stranger's projection may raise anything
            raise ModelFailed(model, error) from error
    return Applied(start, lines.end, more)


def _start_over(model: ReadModel, stream: Stream) -> None:
    logger.info("stream %s was truncated or replaced: applying it again from its start", stream.name)
    model.forget(stream)


def _is_at(model: ReadModel, stream: Stream, position: Position) -> bool:
    known = model.checkpoint(stream)
    return known is not None and known.is_at(position)


def _offset(model: ReadModel, stream: Stream) -> int:
    known = model.checkpoint(stream)
    return 0 if known is None else known.offset
