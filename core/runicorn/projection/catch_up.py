"""Bringing read models level with one stream: read each event once, give it to every model that lacks it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Sequence

import msgspec

from runicorn.events.log import READ_BYTES, FileLog, Position, Stream, StreamReplaced
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS, ModelDamaged, ReadModel, readers

logger = logging.getLogger("runicorn.projection")


class ModelFailed(Exception):
    """A projection raised: its read model stays at its checkpoint. The cause is the projection's exception."""

    def __init__(self, model: ReadModel, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.model = model


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

    A stream that is truncated, replaced or gone (if `may_be_gone()`: the root may be unmounted) is forgotten, and what is
    there now is applied from 0. Committed when this returns, unless the caller holds transactions of the models open.
    ModelFailed if a projection raises: then nothing was changed. ModelDamaged if a file is; an `apsw.Error` where storage
    does not work.
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
    forgot = _forget([model for model in behind if _is_replaced(model, stream, position)], stream)
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
    if level is not None and level.inode != position.inode:
        return Applied(start, start, more=True, forgot=forgot)  # replaced in this very moment: look again
    if lines.bad:
        logger.warning("stream %s: %d lines are not events; see `runicorn events verify`", stream.name, len(lines.bad))
    reached = Position(lines.end, position.inode, 0) if level is None else level
    for model in same:
        with attributed(model):
            model.apply(stream, lines, reached, lines.head if start == 0 else b"")
    more = level is None or len(same) < len(behind)
    return Applied(start, lines.end, len(lines.events), more=more, forgot=forgot)


def _forget(models: Sequence[ReadModel], stream: Stream) -> bool:
    known = [model for model in models if model.checkpoint(stream) is not None]
    for model in known:
        with attributed(model):
            model.forget(stream)
    return bool(known)


@contextlib.contextmanager
def attributed(model: ReadModel) -> Generator[None]:
    """Tell which model an exception concerns, and whether the disk, the file or the projection is to blame."""
    try:
        yield
    except (*STORAGE_ERRORS, ModelDamaged, ModelFailed):
        raise
    except DAMAGE as error:
        raise ModelDamaged(model.path) from error
    except Exception as error:  # a stranger's projection may raise anything
        raise ModelFailed(model, error) from error


def _is_replaced(model: ReadModel, stream: Stream, position: Position) -> bool:
    known = model.checkpoint(stream)
    if known is None or not known.offset:
        return False
    is_replaced = known.inode != position.inode or known.offset > position.size
    if is_replaced:
        logger.info("stream %s was truncated or replaced: applying it again from its start", stream.name)
    return is_replaced


def _is_at(model: ReadModel, stream: Stream, position: Position) -> bool:
    known = model.checkpoint(stream)
    return known is not None and known.is_at(position)


def _offset(model: ReadModel, stream: Stream) -> int:
    known = model.checkpoint(stream)
    return 0 if known is None else known.offset
