"""All read models of a state directory, kept level with the log together."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from runicorn.events.log import FileLog, Stream
from runicorn.projection.backlog import Backlog
from runicorn.projection.catch_up import catch_up
from runicorn.projection.generations import remove_superseded
from runicorn.projection.model import ModelFailed, ReadModel, readers
from runicorn.projection.moves import Standing
from runicorn.projection.wire import Committed, News, Range

logger = logging.getLogger("runicorn.projection")

T = TypeVar("T")

_STREAMS_AT_ONCE = 2000
_BYTES_PER_STREAM = 512  # what looking at a stream costs, besides its bytes
_MAX_WAL_BYTES = 64 << 20


class ReadModels:
    """Knows which streams changed, applies them in small transactions, and tells what was committed.

    A successor is a newer file of a plugin's read model. It is kept current beside the file that it replaces, until every
    stream has been applied to it; then readers are told to move. `may_be_gone` is asked before a stream that is not there
    is forgotten.
    """

    def __init__(
        self, log: FileLog, models: Sequence[ReadModel], may_be_gone: Callable[[], bool] = lambda: True
    ) -> None:
        self.log = log
        self.failed: dict[str, str] = {}
        """Plugins whose read model stopped, with the reason."""
        self.dirty: Backlog[Stream] = Backlog()
        self.last_commit = 0.0
        """When the last transaction ended, on the monotonic clock."""
        self.commit = 0
        """Number of the last commit that was told."""
        self._may_be_gone = may_be_gone
        self._models = list(models)
        self._successors: dict[str, ReadModel] = {}
        self._unreadable: set[Stream] = set()
        self._notices: deque[Committed] = deque()
        self._bytes_to_build = self._bytes_built = 0

    @property
    def is_building(self) -> bool:
        """Whether some read model has not seen everything once."""
        return any(not model.ready for model in self._models)

    @property
    def progress(self) -> float:
        """While building: which share of what was to be applied is applied, 0…1."""
        return min(1.0, self._bytes_built / self._bytes_to_build) if self._bytes_to_build else 0.0

    def begin(self) -> None:
        """The first round is what is queued now."""
        self.dirty.begin()
        if self.is_building:
            positions = (self.log.position(stream) for stream in self.dirty)
            self._bytes_to_build = sum(_BYTES_PER_STREAM + p.size for p in positions if p is not None)

    @property
    def is_handing_over(self) -> bool:
        """Whether a successor is not yet in use."""
        return bool(self._successors)

    @property
    def stream_count(self) -> int:
        """How many streams have a checkpoint."""
        return max((model.stream_count for model in self._models), default=0)

    def mark_known(self) -> Iterator[None]:
        """Queue every known stream that some model is not level with; yields after each."""
        for model in self._all():
            for name, known in model.checkpoints():
                stream = Stream.named(name)
                position = self.log.position(stream)
                if position is None or not known.is_at(position):
                    self.mark(stream)
                yield

    def active_streams(self) -> list[str]:
        """Names of the streams that projections expect to grow."""
        return [name for model in list(self._models) for name in self._or_stopped(model, model.active_streams) or ()]

    def knows(self, stream: Stream) -> bool:
        """Whether a model has a checkpoint for the stream: then `mark_known` looks at it."""
        return any(model.checkpoint(stream) is not None for model in self._models)

    def mark(self, stream: Stream) -> None:
        """Queue the stream if some model is not level with it; costs one `stat`."""
        position = self.log.position(stream)
        for model in readers(self._all(), stream):
            known = model.checkpoint(stream)
            if (known is not None) if position is None else (known is None or not known.is_at(position)):
                self.dirty.add(stream)
                return

    def apply_some(self, limit: int) -> list[Stream]:
        """Apply about `limit` bytes of what is queued; the streams that were forgotten on the way."""
        return self._apply(self.dirty.first(_STREAMS_AT_ONCE), limit, self._all)[1]

    def apply_first(self, stream: Stream, size: int, limit: int) -> tuple[bool, list[Stream]]:
        """Apply about `limit` bytes of one stream to the models that serve; successors wait for their turn.

        Whether those are level with the stream now, or have reached `size`; and the streams that were forgotten on the way.
        """
        more, forgotten = self._apply([stream], limit, lambda: self._models)
        is_level = not more or self.committed_end(stream) >= size > 0
        if self._successors:
            self.mark(stream)
        return is_level, forgotten

    def _apply(
        self, streams: Sequence[Stream], limit: int, models: Callable[[], Sequence[ReadModel]]
    ) -> tuple[list[Stream], list[Stream]]:
        """Those of which more is left for `models`, and those whose earlier contribution was undone."""
        while True:
            try:
                return self._apply_to(models(), streams, limit)
            except ModelFailed as failure:
                self._stop(failure)

    def _apply_to(
        self, models: Sequence[ReadModel], streams: Sequence[Stream], limit: int
    ) -> tuple[list[Stream], list[Stream]]:
        applied: list[Range] = []
        news: list[Range] = []
        is_building = self.is_building
        done: list[Stream] = []
        more: list[Stream] = []
        forgotten: list[Stream] = []
        with ExitStack() as transactions:
            for model in models if is_building else _touched(models, streams):
                transactions.enter_context(model.transaction())
            for stream in streams:
                known = self._furthest(stream)
                result = catch_up(self.log, models, stream, limit=limit, may_be_gone=self._may_be_gone)
                (more if result.more else done).append(stream)
                if result.end > result.start:
                    applied.append((stream.name, result.start, result.end))
                    start = result.start if result.forgot else max(result.start, known)
                    if start < result.end and not is_building:
                        news.append((stream.name, start, result.end))
                if result.forgot:
                    forgotten.append(stream)
                if result.problem is not None:
                    self._report_unreadable(stream, result.problem)
                limit -= max(result.end - result.start, _BYTES_PER_STREAM)
                self._bytes_built += result.end - result.start + (0 if result.more else _BYTES_PER_STREAM)
                if limit <= 0:
                    break
            if self._bytes_to_build:
                for model in models:
                    model.note_progress(self.progress)
        self.last_commit = time.monotonic()
        if len(models) == len(self._all()):  # else a successor may still lack them, and is not to take over without
            self.dirty.done(done)
        for stream in more:
            self.dirty.again(stream)
        self._publish(applied, news)
        return more, forgotten

    def _report_unreadable(self, stream: Stream, problem: str) -> None:
        if stream not in self._unreadable:
            self._unreadable.add(stream)
            logger.warning("stream %s cannot be read: %s", stream.name, problem)

    def _stop(self, failure: ModelFailed) -> None:
        model = failure.model
        logger.error("plugin %s: its read model stopped: %s", model.plugin, failure, exc_info=failure.__cause__)
        if self._successors.get(model.plugin) is model:
            del self._successors[model.plugin]
        else:
            self.failed[model.plugin] = str(failure)
            self._models.remove(model)
        model.close()

    def _or_stopped(self, model: ReadModel, action: Callable[[], T]) -> T | None:
        """What the action returns; None if the projections fail in it: then their read model stops."""
        try:
            return action()
        except ModelFailed as failure:
            self._stop(failure)
            return None

    # ── telling readers ─────────────────────────────────────────────────────

    def take_notices(self) -> list[Committed]:
        """What was committed since the last call."""
        notices = list(self._notices)
        self._notices.clear()
        return notices

    def _publish(self, streams: list[Range], news: list[Range], *, moved: bool = False) -> None:
        counters = {model.plugin: values for model in self._models if (values := model.take_counters())}
        if streams or counters or moved:
            self.commit += 1
            self._notices.append(Committed(self.commit, streams, counters, moved, News("", 0, news) if news else None))

    def _furthest(self, stream: Stream) -> int:
        """Up to which offset some model that serves has applied a stream."""
        checkpoints = (model.checkpoint(stream) for model in self._models)
        return max((known.offset for known in checkpoints if known is not None), default=0)

    # ── which files serve ───────────────────────────────────────────────────

    def become_ready(self) -> None:
        """Everything that existed has been applied once: readers may use these files."""
        for model in list(self._models):
            self._or_stopped(model, model.mark_ready)
        self._bytes_to_build = 0
        logger.info("read models are level with the log")
        self._publish([], [], moved=True)
        self.remove_superseded()

    def succeed(self, successors: Sequence[ReadModel]) -> None:
        """Move to newer files of the same projections, once they are level."""
        for model in successors:
            self._successors[model.plugin] = model
        for model in self._all():
            for name, _ in model.checkpoints():
                self.mark(Stream.named(name))
        self.dirty.begin()

    def hand_over(self, replaced: Callable[[ReadModel, ReadModel], None]) -> None:
        """Put the successors in place; `replaced(old, new)` is called for each."""
        for position, model in enumerate(self._models):
            successor = self._successors.pop(model.plugin, None)
            if successor is not None:
                self._models[position] = successor
                replaced(model, successor)
                model.close()
        for unwanted in self._successors.values():
            unwanted.close()
        self._successors.clear()
        self._publish([], [], moved=True)
        self.remove_superseded()

    def files(self) -> dict[str, Path]:
        """The file in use, by plugin."""
        return {model.plugin: model.path for model in self._models}

    def standing(self) -> list[Standing]:
        """Where the models that serve stand."""
        standing = (self._or_stopped(model, lambda model=model: model.standing) for model in list(self._models))
        return [model for model in standing if model is not None]

    def committed_end(self, stream: Stream) -> int:
        """Up to which offset all models that read a stream have applied it."""
        checkpoints = [model.checkpoint(stream) for model in readers(self._models, stream)]
        return min((0 if known is None else known.offset for known in checkpoints), default=0)

    def remove_superseded(self) -> None:
        """Remove older files, where the one in use is ready."""
        for model in self._models:
            if model.ready:
                for path in remove_superseded(self.log.state_dir, model.path):
                    logger.info("removed %s, which %s supersedes", path.name, model.path.name)

    def truncate_large_wals(self) -> None:
        """Write large WALs back; while readers are busy, SQLite only lets them grow."""
        for model in self._models:
            wal = model.path.with_name(model.path.name + "-wal")
            if wal.exists() and wal.stat().st_size > _MAX_WAL_BYTES:
                model.truncate_wal()

    def close(self) -> None:
        """Close all files."""
        for model in self._all():
            model.close()

    def _all(self) -> list[ReadModel]:
        return [*self._models, *self._successors.values()]


def _touched(models: Sequence[ReadModel], streams: Iterable[Stream]) -> list[ReadModel]:
    """The models that are changed by these streams: an empty transaction takes a lock, too."""
    kinds = {stream.kind: stream for stream in streams}.values()
    reading = {model.plugin for stream in kinds for model in readers(models, stream)}
    return [model for model in models if model.plugin in reading]
