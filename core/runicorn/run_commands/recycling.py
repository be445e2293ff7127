"""Into the recycle bin and out of it: runs whose directories are known, with or without a server."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from runicorn.config import INTERNAL
from runicorn.errors import RunicornError, StorageUnavailable
from runicorn.events.decided import RunDeleted, RunRestored
from runicorn.events.envelope import Payload
from runicorn.events.store import StoreLocked
from runicorn.files import LockTimeout, file_lock
from runicorn.run_commands.marker import (
    Deletion,
    check_place,
    is_marked,
    prepare,
    prepared_markers,
    publish,
    remove_prepared,
    withdraw,
)

logger = logging.getLogger("runicorn.runs")

NOT_FOUND = "run not found"
NOT_DELETED = "run not deleted"
_IS_LINK = "run directory is a link"
_NOT_WRITTEN = "could not write marker"
_NOT_REMOVED = "could not remove marker"

_LOCK_TIMEOUT_S = 5.0
_THREADS = 8  # they wait for the disk

T = TypeVar("T")
R = TypeVar("R")


class Record(Protocol):
    """Appends events that belong together to the store stream. StorageUnavailable if nothing was recorded."""

    def __call__(self, *payloads: Payload) -> object: ...


class RunPlace(msgspec.Struct, frozen=True):
    """A run that a command is about."""

    key: str
    run_id: str


Failures = dict[str, str | None]
"""By a run's key: why the command failed for it; None where it did not."""


class _Prepared(msgspec.Struct, frozen=True):
    run: RunPlace
    deletion: Deletion
    temporary: str


class _Withdrawn(msgspec.Struct, frozen=True):
    run: RunPlace
    is_out: bool
    marker: str | None = None
    """Where the marker is now; None if only prepared ones were there."""


def put_into_bin(
    root: Path, runs: Sequence[RunPlace], record: Record, *, reason: str, deletion: Deletion | None = None
) -> Failures:
    """Soft-delete runs: one append for all of them, then a marker in each directory; nothing else changes.

    `deletion` is what the markers say, where runs are back in the bin as they were; else `reason`, and that it is now.
    Fails for a run that is in the bin already, for links, and where no marker can be written. StorageUnavailable if
    nothing can be recorded: then nothing has changed.
    """
    with alone(root):
        found = in_threads(lambda run: _prepare(root, run, reason, deletion), runs)
        failures: Failures = {
            run.key: None if isinstance(it, _Prepared) else it for run, it in zip(runs, found, strict=True)
        }
        prepared = [it for it in found if isinstance(it, _Prepared)]
        if not prepared:
            return failures
        try:
            record(*(deleted(it.run, it.deletion) for it in prepared))
        except BaseException:
            for it in prepared:
                with contextlib.suppress(OSError):
                    os.unlink(it.temporary)
            raise
        unpublished = [it.run for it in prepared if not _publish(root, it)]
        if unpublished:
            record_outcome(record, *(RunRestored(run=run.key, run_id=run.run_id) for run in unpublished))
        return failures | {run.key: _NOT_WRITTEN for run in unpublished}


def take_out(root: Path, runs: Sequence[RunPlace], record: Record) -> Failures:
    """Restore runs from the recycle bin: the markers are withdrawn, then one append; status and data are as before.

    Fails for runs that are not in the bin, and where the marker cannot be removed. StorageUnavailable as above.
    """
    with alone(root):
        failures: Failures = {run.key: _why_not_restorable(root, run) for run in runs}
        found = in_threads(lambda run: _withdraw(root, run), [run for run in runs if failures[run.key] is None])
        failures |= {it.run.key: _NOT_REMOVED for it in found if not it.is_out}
        withdrawn = [it for it in found if it.is_out]
        if not withdrawn:
            return failures
        try:
            record(*(RunRestored(run=it.run.key, run_id=it.run.run_id) for it in withdrawn))
        except BaseException:
            for it in withdrawn:
                _put_back(root, it)
            raise
        in_threads(lambda it: _remove_prepared(root, it.run), withdrawn)
        return failures


def deleted(run: RunPlace, deletion: Deletion) -> RunDeleted:
    """The event that says that a run is in the recycle bin."""
    return RunDeleted(
        run=run.key,
        run_id=run.run_id,
        deleted_at=0.0 if deletion.at is None else deletion.at,
        reason=deletion.reason,
        original_status=deletion.original_status,
    )


def record_outcome(record: Record, *payloads: Payload) -> None:
    """Record what became of runs that a command could not finish; where that is impossible, their directories tell it."""
    try:
        record(*payloads)
    except StorageUnavailable as error:  # too late to say that nothing has changed
        logger.warning("what became of %d runs cannot be recorded: %s", len(payloads), error)


@contextlib.contextmanager
def alone(root: Path) -> Generator[None]:
    """One command at a time on a root: two of them never count the same run. StoreLocked if another one hangs."""
    with contextlib.ExitStack() as stack:
        try:
            if root.is_dir():
                (root / INTERNAL).mkdir(exist_ok=True)
                stack.enter_context(file_lock(root / INTERNAL / "commands.lock", timeout_s=_LOCK_TIMEOUT_S))
        except LockTimeout as error:
            raise StoreLocked from error
        except OSError:  # a read-only root: nothing can change there anyway
            logger.debug("no lock for commands can be made below the storage root")
        yield


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function(item)` of every item, in order; several at a time, because they wait for the disk."""
    listed = list(items)
    if len(listed) < 2:
        return [function(item) for item in listed]
    with ThreadPoolExecutor(min(_THREADS, len(listed)), "run-commands") as pool:
        return list(pool.map(function, listed))


def _prepare(root: Path, run: RunPlace, reason: str, given: Deletion | None) -> _Prepared | str:
    run_dir = root / run.key
    try:
        check_place(root, run_dir)
        if is_marked(run_dir):
            return NOT_FOUND
        deletion = given or Deletion.now(run_dir, reason)
        return _Prepared(run, deletion, prepare(run_dir, deletion))
    except RunicornError:
        return _IS_LINK
    except FileNotFoundError:
        return NOT_FOUND
    except OSError as error:
        logger.warning("the run %s cannot be marked as deleted: %s", run.key, error.strerror)
        return _NOT_WRITTEN


def _publish(root: Path, prepared: _Prepared) -> bool:
    try:
        publish(prepared.temporary, root / prepared.run.key)
        # Of a command that was killed: beside a marker that says the same, nobody could restore the run by removing that.
        _remove_prepared(root, prepared.run)
    except OSError as error:
        logger.warning("the run %s cannot be marked as deleted: %s", prepared.run.key, error.strerror)
        with contextlib.suppress(OSError):
            os.unlink(prepared.temporary)
        return False
    return True


def _why_not_restorable(root: Path, run: RunPlace) -> str | None:
    run_dir = root / run.key
    if not run_dir.is_dir():
        return NOT_FOUND
    if not is_marked(run_dir) and not prepared_markers(run_dir):
        return NOT_DELETED
    try:
        check_place(root, run_dir)
    except RunicornError:
        return _NOT_REMOVED
    return None if os.access(run_dir, os.W_OK) else _NOT_REMOVED


def _withdraw(root: Path, run: RunPlace) -> _Withdrawn:
    try:
        return _Withdrawn(run, is_out=True, marker=withdraw(root / run.key))
    except OSError as error:
        logger.warning("the run %s cannot be restored: %s", run.key, error.strerror)
        return _Withdrawn(run, is_out=False)


def _put_back(root: Path, withdrawn: _Withdrawn) -> None:
    if withdrawn.marker is None:
        return
    try:
        publish(withdrawn.marker, root / withdrawn.run.key)
    except OSError as error:
        logger.warning("the marker of the run %s cannot be put back: %s", withdrawn.run.key, error.strerror)


def _remove_prepared(root: Path, run: RunPlace) -> None:
    try:
        remove_prepared(root / run.key)
    except OSError as error:  # it means nothing any more
        logger.info("the run %s keeps the rest of its marker: %s", run.key, error.strerror)
