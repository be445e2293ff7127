"""One pass over a remote root: fetch the metadata that changed, drop what is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import RemoteFile, enumerate_root
from runicorn_remote.errors import ConnectionLost, OperationTimeout
from runicorn_remote.mirror.progress import one_line
from runicorn_remote.pipeline import Fetched, batches
from runicorn_remote.smart.cache import Cache, Seen
from runicorn_remote.smart.channels import fetched_over_channels
from runicorn_remote.smart.places import ARTIFACTS, place_of, run_of
from runicorn_remote.ticks import is_recent, is_whole_seconds

MAX_FILE_BYTES = 16 << 20
MAX_BYTES = 10 << 30
"""Of the metadata of one root."""

_MAX_ERRORS = 20
_ATTEMPTS = 3


class SyncProgress(msgspec.Struct):
    """What a sync is doing, or has done."""

    status: Literal["idle", "running", "completed", "failed"]
    started_at: float
    completed_at: float | None = None
    total_files: int = 0
    synced_files: int = 0
    total_bytes: int = 0
    synced_bytes: int = 0
    progress_percent: float = 0.0
    current_file: str | None = None
    errors: list[str] = []

    def add_error(self, line: str) -> None:
        """Note a problem; the first twenty are kept."""
        if len(self.errors) < _MAX_ERRORS:
            self.errors = [*self.errors, line]

    def end(self, status: Literal["completed", "failed"]) -> None:
        """It is over."""
        self.status, self.completed_at, self.current_file = status, time.time(), None
        if status == "completed":
            self.progress_percent = 100.0


class _Pass:
    """The state of one sync."""

    def __init__(
        self, cache: Cache, root: str, progress: SyncProgress, check: Callable[[], None], newest_ns: int, began: float
    ) -> None:
        """`newest_ns`: the time of the youngest file there; `began`: when the sync did, by the monotonic clock."""
        self._cache = cache
        self._tree = cache.tree
        self._root = root.rstrip("/")
        self._progress = progress
        self._check = check
        self._newest_ns = newest_ns
        self._began = began
        self._known = cache.files()
        self.changed: dict[str, Seen] = {}

    def fetch(self, connection: Connection, files: Sequence[RemoteFile]) -> None:
        """Bring files, over several channels; a problem of one is a line in the progress."""
        waiting = list(files)
        for attempt in range(_ATTEMPTS):
            if not waiting:
                return
            by_path = {f"{self._root}/{file.path}": file for file in waiting}
            waiting = []
            groups = list(batches([(path, file.size) for path, file in by_path.items()]))
            for batch, fetched in fetched_over_channels(connection, groups, self._check):
                self._check()
                files_of_batch = [by_path[path] for path, _ in batch]
                waiting += self._take_all(files_of_batch, fetched, is_last=attempt == _ATTEMPTS - 1)
                del fetched  # before the next ones come

    def _take_all(
        self, files: Sequence[RemoteFile], answers: Sequence[Fetched | Exception], *, is_last: bool
    ) -> list[RemoteFile]:
        """Those that have to be fetched again."""
        return [
            file for file, answer in zip(files, answers, strict=True) if not self._take(file, answer, is_last=is_last)
        ]

    def _take(self, file: RemoteFile, answer: Fetched | Exception, *, is_last: bool) -> bool:
        """Whether nothing is left to do for the file."""
        progress = self._progress
        progress.current_file = file.path
        if isinstance(answer, ConnectionLost | OperationTimeout):
            raise answer
        if isinstance(answer, Exception):
            progress.add_error(f"{file.path}: {one_line(answer).replace(f'{self._root}/', '')}")
        elif not answer.is_settled:
            if not is_last:
                return False
            progress.add_error(f"{file.path}: changed while it was read")
        else:
            place = place_of(file.path)
            assert place is not None
            try:
                with self._tree.place(place) as local, local.replacement() as replacement:
                    replacement.write([answer.data])
                    replacement.install()
                    local.set_mtime(file.mtime_ns)
            except OSError as error:
                progress.add_error(f"{file.path}: {error.strerror or 'not acceptable'}")
            else:
                # The listing may be older than what was read: then the next sync compares, and fetches again.
                self.changed[file.path] = Seen(file.size, file.mtime_ns, self._is_young(file))
        progress.synced_files += 1
        progress.synced_bytes += file.size
        progress.progress_percent = round(100.0 * progress.synced_files / max(1, progress.total_files), 1)
        return True

    def _is_young(self, file: RemoteFile) -> bool:
        """Whether the file may get another content with the same size and time: then the next sync looks once more."""
        ticks, before = self._cache.ticks, self._known.get(file.path)
        if before is None or (before.size, before.mtime_ns) != (file.size, file.mtime_ns):
            has_changed = before is not None and is_whole_seconds(file.mtime_ns)
            is_young = has_changed or is_recent(file.mtime_ns, self._newest_ns)
        else:  # it was young the last time, or its copy was gone
            is_young = before.is_young and not ticks.is_over(file, self._began)
        if is_young:
            ticks.note(file)
        else:
            ticks.forget(file.path)
        return is_young


def synchronise(
    connection: Connection, root: str, cache: Cache, progress: SyncProgress, check: Callable[[], None]
) -> None:
    """Make the cache say what the server says. `check` raises when it is to end.

    RemoteError if the connection is lost or the root cannot be read: then the index is as it was before.
    """
    began = time.monotonic()
    found = enumerate_root(connection, root)
    check()
    listed = {file.path: file for file in found.files if place_of(file.path) is not None}
    known = cache.files()
    newest_ns = max((file.mtime_ns for file in listed.values()), default=0)
    wanted: list[RemoteFile] = []
    total = 0
    for path, file in listed.items():
        seen = known.get(path)
        is_same = seen is not None and (seen.size, seen.mtime_ns, seen.is_young) == (file.size, file.mtime_ns, False)
        if is_same and (cache.metadata / (place_of(path) or "")).is_file():
            continue
        if file.size > MAX_FILE_BYTES:
            progress.add_error(f"{path}: larger than {MAX_FILE_BYTES} bytes")
            continue
        total += file.size
        if total > MAX_BYTES:
            progress.add_error(f"{path}: the metadata are larger than {MAX_BYTES} bytes")
            continue
        wanted.append(file)
    progress.total_files, progress.total_bytes = len(wanted), sum(file.size for file in wanted)
    if found.unreadable:
        progress.add_error(f"{found.unreadable} directories or links could not be read")
    work = _Pass(cache, root, progress, check, newest_ns, began)
    work.fetch(connection, wanted)
    check()
    gone = [path for path in known if path not in listed] if found.is_complete else []
    for path in gone:
        cache.ticks.forget(path)
        place = place_of(path)
        if place is not None:
            with contextlib.suppress(OSError):
                (cache.metadata / place).unlink()
                _remove_empty(cache.metadata / ARTIFACTS, (cache.metadata / place).parent)
    cache.commit(work.changed, gone)
    if work.changed or gone:
        cache.note_change()
    runs = {run_of(path) for path in listed}
    for run in {run for path in gone if (run := run_of(path)) is not None} - runs:
        cache.remove_run(run)


def _remove_empty(base: Path, directory: Path) -> None:
    """Remove directories below `base` that nothing is left in, from the innermost outwards."""
    while base in directory.parents:
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()  # OSError, if there is something in it
        directory = directory.parent
