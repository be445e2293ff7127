"""Building read models again from the log, beside the files that serve.

A rebuild writes `*.building`: nobody reads it, and it is worthless after a crash, so it needs no journal on disk. Once it
holds the whole log it is made durable and renamed to the next generation. A projector that runs is then asked to move
over: it keeps both files current until the new one is level, and tells its readers. Without a projector the new file
simply is the newest.

`build_aside` builds files that are no part of a state directory: of a `PastLog` they are what was true then.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import msgspec

from runicorn.errors import RunicornError, StorageUnavailable, Unavailable
from runicorn.events.log import FileLog, Stream
from runicorn.files import LockTimeout, file_lock, sync_directory
from runicorn.host import PluginHost
from runicorn.projection.base import Projection
from runicorn.projection.catch_up import catch_up
from runicorn.projection.generations import FINISHED_BY, next_path, remove_superseded
from runicorn.projection.model import STORAGE_ERRORS, ModelFailed, ReadModel
from runicorn.projection.prepared import NotPrepared, Prepared
from runicorn.projection.preparing import Failed, GroupDone, Message, PreparationEnded, Preparers
from runicorn.projection.wire import PROJECTOR_LOCK, Reply, Request, decode_message, encode_message, published_address

_TRANSACTION_BYTES = 8 << 20
_BYTES_PER_STREAM = 512
_MOST_STREAMS = 500  # a message that names them fits into the buffer of a socket
_ALONE_S = 0.25  # starting other processes takes as long as reading a thousand runs
_MOST_PROCESSES = 4  # one writes what they prepare, and could not keep up with more
_HAND_OVER_S = 600.0


class ReplayFailed(RunicornError):
    """The log cannot be applied, or the projector does not take the result; what served before goes on serving."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did."""

    events: int
    plugins: list[str]
    """Whose read models are new."""


def rebuild(
    root: Path,
    state_dir: Path,
    host: PluginHost,
    plugins: Collection[str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
    *,
    processes: int | None = None,
) -> Rebuilt:
    """Build the read models of these plugins (None: of all) again. Constant memory; one rebuild at a time.

    `processes` others prepare what this one writes; None: as many as there are processors, if it takes a while. They are
    at idle priority if the store is served meanwhile. The rows are the same in any case, but for their row ids.

    `progress` is called with the number of bytes that were applied since the last call. Unavailable if another rebuild
    is running, ReplayFailed if a projection raises; then the files that serve are as they were.
    """
    log = FileLog(root, state_dir)
    chosen = {
        plugin.name: projections
        for plugin, projections in host.collect("projections")
        if plugins is None or plugin.name in plugins
    }
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with alone(state_dir), _collection_off():
            for leftover in state_dir.glob("*.building*"):
                leftover.unlink(missing_ok=True)
            building = {name: state_dir / f"{name}{FINISHED_BY}" for name in chosen}
            try:
                events = _build(log, building, chosen, progress, processes)
                publish(state_dir, {path: next_path(state_dir, name, chosen[name]) for name, path in building.items()})
            finally:
                for path in building.values():
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable from error
    return Rebuilt(events, sorted(chosen))


def build_aside(
    log: FileLog,
    files: Mapping[str, Path],
    projections: Mapping[str, Sequence[Projection]],
    progress: Callable[[int], None] = lambda count: None,
    *,
    processes: int | None = None,
) -> int:
    """Build read models into these files, by plugin, none of which exists; the number of events in them.

    They are single SQLite files, without a WAL. All are complete, or none is there: ReplayFailed if a projection raises,
    StorageUnavailable where they cannot be written.
    """
    building = {plugin: path.with_name(f".{path.name}{FINISHED_BY}") for plugin, path in files.items()}
    try:
        with _collection_off():
            try:
                for path in building.values():
                    path.unlink(missing_ok=True)
                events = _build(log, building, dict(projections), progress, processes, has_wal=False)
                for path in building.values():
                    _sync(path)
                for plugin, path in building.items():
                    path.rename(files[plugin])
            finally:
                for path in building.values():
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"The read models cannot be written: {error.strerror}") from error
    except STORAGE_ERRORS as error:
        raise StorageUnavailable("The read models cannot be written") from error
    return events


def _build(
    log: FileLog,
    building: dict[str, Path],
    chosen: dict[str, Sequence[Projection]],
    progress: Callable[[int], None],
    processes: int | None,
    *,
    has_wal: bool = True,
) -> int:
    models = [ReadModel(building[name], name, projections, is_scratch=True) for name, projections in chosen.items()]
    build = _Build(log, models, progress)
    try:
        groups = _groups(log.sized_streams())
        deadline = time.monotonic() + (_ALONE_S if processes is None else 0.0)
        count = min(os.cpu_count() or 1, _MOST_PROCESSES) if processes is None else processes
        prepared = [model for model in models if model.reads("run") and model.prepares("run")]
        for group in groups:
            if count and prepared and group[0].kind == "run" and time.monotonic() >= deadline:
                is_idle = _is_served(log.state_dir)
                with Preparers(
                    log, {model.plugin: chosen[model.plugin] for model in prepared}, count, is_idle=is_idle
                ) as p:
                    build.write(p.prepare(chain([group], groups)), prepared)
            else:
                build.apply(group)
        for model in models:
            model.mark_ready()
            model.end_scratch(has_wal=has_wal)
    except ModelFailed as failure:
        raise ReplayFailed(f"The plugin {failure.model.plugin} cannot apply the log: {failure}") from failure
    except PreparationEnded as error:
        raise ReplayFailed(str(error)) from error
    finally:
        for model in models:
            model.close()
    return build.events


class _Build:
    """Fills the files of a rebuild."""

    def __init__(self, log: FileLog, models: Sequence[ReadModel], progress: Callable[[int], None]) -> None:
        self.events = 0
        self._log = log
        self._models = models
        self._progress = progress

    def apply(
        self, group: Iterable[Stream], models: Sequence[ReadModel] | None = None, *, is_told: bool = True
    ) -> None:
        """Read and apply these streams here."""
        models = self._models if models is None else models
        with _one_transaction(models):
            for stream in group:
                applied = None
                while applied is None or applied.more:
                    applied = catch_up(self._log, models, stream)
                    if is_told:
                        self._progress(applied.end - applied.start)
                        self.events += applied.events

    def write(self, messages: Iterable[list[Message]], prepared: Sequence[ReadModel]) -> None:
        """Write what other processes prepared for the models `prepared`; the others get the streams the usual way."""
        others = [model for model in self._models if model not in prepared]
        for several in messages:
            with _one_transaction(self._models):
                pieces: list[Prepared] = []
                for message in several:
                    if isinstance(message, Prepared):
                        pieces.append(message)
                        continue
                    self._write_pieces(pieces, prepared, others)
                    pieces = []
                    match message:
                        case NotPrepared(stream):
                            for model in prepared:
                                with model.blamed("forget"):
                                    model.forget(stream)
                            self.apply([stream])
                        case Failed(plugin, reason):
                            raise ReplayFailed(f"The plugin {plugin} cannot apply the log: {reason}")
                        case GroupDone():
                            pass
                self._write_pieces(pieces, prepared, others)

    def _write_pieces(
        self, pieces: Sequence[Prepared], prepared: Sequence[ReadModel], others: Sequence[ReadModel]
    ) -> None:
        if not pieces:
            return
        for model in prepared:
            model.apply_prepared([piece for piece in pieces if model.reads(piece.stream.kind)])
        self._progress(sum(piece.bytes for piece in pieces))
        self.events += sum(piece.events for piece in pieces)
        ended = [piece.stream for piece in pieces if piece.end is not None] if others else []
        for stream in ended:
            reading = [model for model in others if model.reads(stream.kind)]
            if reading:
                self.apply([stream], reading, is_told=False)


@contextlib.contextmanager
def _one_transaction(models: Sequence[ReadModel]) -> Generator[None]:
    with ExitStack() as transactions:
        for model in models:
            transactions.enter_context(model.transaction())
        yield


def _groups(streams: Iterable[tuple[Stream, int]]) -> Generator[list[Stream]]:
    """The streams, in groups of one kind that make a transaction of about 8 MiB. A longer stream is a group of its own."""
    group: list[Stream] = []
    size = 0
    for stream, found in streams:
        length = max(found, _BYTES_PER_STREAM)
        if group and (
            size + length > _TRANSACTION_BYTES or len(group) >= _MOST_STREAMS or stream.kind != group[0].kind
        ):
            yield group
            group, size = [], 0
        group.append(stream)
        size += length
    if group:
        yield group


def publish(state_dir: Path, finished: dict[Path, Path]) -> None:
    """Make finished files the newest, under the paths given for them, and have them used."""
    for path in finished:
        _sync(path)
    for path, published in finished.items():
        path.rename(published)
    sync_directory(state_dir)
    try:
        with file_lock(state_dir / PROJECTOR_LOCK, timeout_s=0):
            for published in finished.values():
                remove_superseded(state_dir, published)
    except LockTimeout:
        _hand_over(state_dir)


def _hand_over(state_dir: Path) -> None:
    """Ask the projector that runs to use the newest files, and wait until it does. One that starts finds them itself."""
    address = published_address(state_dir)
    if address is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_HAND_OVER_S)
        try:
            connection.connect(address)
        except OSError:
            return  # it ended just now: whoever starts next opens the newest file
        try:
            connection.sendall(encode_message(Request(1, "reopen")) + b"\n")
            with connection.makefile("rb") as lines:
                replies = (message for line in lines if isinstance(message := decode_message(line), Reply))
                reply = next(replies, None)
        except (TimeoutError, msgspec.DecodeError):
            raise ReplayFailed(
                "The projector does not answer. It will use the new read models when it restarts."
            ) from None
        except OSError:
            return
    if reply is not None and not reply.ok:
        raise ReplayFailed(reply.error or "The projector could not move to the new read models.")


def _is_served(state_dir: Path) -> bool:
    try:
        with file_lock(state_dir / PROJECTOR_LOCK, timeout_s=0):
            return False
    except LockTimeout:
        return True


@contextlib.contextmanager
def alone(state_dir: Path) -> Generator[None]:
    """Unavailable if somebody else writes new files of read models."""
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(state_dir / "rebuild.lock", timeout_s=0))
        except LockTimeout:
            raise Unavailable("The read models of this store are being rebuilt already.") from None
        yield


@contextlib.contextmanager
def _collection_off() -> Generator[None]:
    """Nothing in a replay makes cycles; the collector only costs time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
