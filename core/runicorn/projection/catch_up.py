"""Bringing read models level with one stream: read each event once, give it to every model that lacks it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from runicorn.events.log import READ_BYTES, FileLog, Position, Stream, StreamReplaced
from runicorn.projection.model import ReadModel, readers

logger = logging.getLogger("runicorn.projection")


class Applied(msgspec.Struct, frozen=True):
    """What one call did: the bytes from `start` to `end` were applied."""

    start: int = 0
    end: int = 0
    events: int = 0
    more: bool = False
    """Whether something is left to apply."""
    forgot: bool = False
    """Whether an earlier contribution of the stream was undone."""
    problem: str | None = None
    """Why the stream cannot be read now; what was applied of it stays."""


def catch_up(
    log: FileLog,
    models: Sequence[ReadModel],
    stream: Stream,
    *,
    limit: int = READ_BYTES,
    may_be_gone: Callable[[], bool] = lambda: True,
) -> Applied:
    """Apply one read of about `limit` bytes of `stream` to the models that read it, and lack it.

    A stream that is truncated, replaced, edited in place or gone (if `may_be_gone()`: the root may be unmounted) is
    forgotten, and what is there now is applied from 0. Committed when this returns, unless the caller holds transactions of
    the models open. ModelFailed if a projection raises: then nothing was changed. ModelDamaged if a file is; an `apsw.Error`
    where storage does not work.
    """
    models = readers(models, stream)
    position = log.position(stream)
    if position is None:
        if not log.is_gone(stream) or not may_be_gone():
            return Applied(problem="cannot be reached")
        return Applied(forgot=_forget(models, stream))
    behind = [model for model in models if not _is_at(model, stream, position)]
    if not behind:
        return Applied()
    checksum = cache(lambda end: log.checksum_in_slices(stream, end, position))
    try:
        replaced = [_is_replaced(model, stream, position, checksum) for model in behind]
    except FileNotFoundError:
        return Applied(more=True)
    except OSError as error:
        return Applied(problem=error.strerror)
    if None in replaced:
        return Applied(more=True)
    log.end_slices(stream)
    if any(replaced):
        logger.info("stream %s was truncated, replaced or edited: applying it again from its start", stream.name)
    forgot = _forget([model for model, is_replaced in zip(behind, replaced, strict=True) if is_replaced], stream)
    # Usually all stand at the same offset, and one read serves all; a model that is new lags behind.
    start = min(_offset(model, stream) for model in behind)
    same = [model for model in behind if _offset(model, stream) == start]
    known = same[0].checkpoint(stream)
    try:
        lines, level = log.read_level(stream, after=start, head=known.head if known else b"", limit=limit)
    except StreamReplaced:
        return Applied(more=True, forgot=_forget(same, stream))
    except FileNotFoundError:
        return Applied(start, start, more=True, forgot=forgot)
    except OSError as error:
        return Applied(forgot=forgot, problem=error.strerror)
    if level is not None and _is_other(level, position):
        return Applied(start, start, more=True, forgot=forgot)  # replaced or edited in this very moment: look again
    if lines.bad:
        logger.warning("stream %s: %d lines are not events; see `runicorn events verify`", stream.name, len(lines.bad))
    reached = Position(lines.end, position.inode, 0) if level is None else level
    for model in same:
        with model.blamed("apply"):
            model.apply(stream, lines, reached, lines.head if start == 0 else b"")
    more = level is None or len(same) < len(behind)
    return Applied(start, lines.end, len(lines.events), more=more, forgot=forgot)


def _forget(models: Sequence[ReadModel], stream: Stream) -> bool:
    known = [model for model in models if model.checkpoint(stream) is not None]
    for model in known:
        with model.blamed("forget"):
            model.forget(stream)
    return bool(known)


def _is_replaced(
    model: ReadModel, stream: Stream, position: Position, checksum: Callable[[int], int | None]
) -> bool | None:
    """None if that is not known yet: the bytes are compared slice by slice."""
    known = model.checkpoint(stream)
    if known is None or not known.offset:
        return False
    is_replaced = known.inode != position.inode or known.offset > position.size
    if not is_replaced and known.size == position.size and known.modified_ns not in (0, position.modified_ns):
        # The time alone says little: a mirror sets it after each append, and it moves before the size when a line is
        # written. Without a look at the bytes, live clients would be told of every event again.
        found = checksum(known.offset)
        return None if found is None else found != known.checksum
    return is_replaced


def _is_other(level: Position, position: Position) -> bool:
    is_edited = level.size == position.size and level.modified_ns != position.modified_ns
    return level.inode != position.inode or is_edited


def _is_at(model: ReadModel, stream: Stream, position: Position) -> bool:
    known = model.checkpoint(stream)
    return known is not None and known.is_at(position)


def _offset(model: ReadModel, stream: Stream) -> int:
    known = model.checkpoint(stream)
    return 0 if known is None else known.offset
