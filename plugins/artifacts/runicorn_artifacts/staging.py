"""The staging area `artifacts/.tmp`: a version is made there, and moved to its place when it is complete.

Whoever is at work in a folder of it holds the lock file in there. What is left by a killed process is removed after a day.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runicorn.plugin import file_lock
from runicorn_artifacts.copying import Progress, copy_with_digest
from runicorn_artifacts.folder import FILES, LOCK_FILE
from runicorn_artifacts.manifest import FileEntry
from runicorn_artifacts.naming import stored_path
from runicorn_artifacts.pool import ContentStore

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

StagedFile = tuple[Path, str]
"""A source, and its path inside of the artifact."""

STAGING = ".tmp"

_KEPT_S = 24 * 3600.0
_THREADS = 4
_SHOW_AFTER_S = 1.0


def check_files(files: Sequence[StagedFile]) -> list[StagedFile]:
    """The files with their paths as a manifest has them; of several with one path the first.

    ValueError for a path that leads elsewhere, or through another file; FileNotFoundError for a source that is gone.
    """
    checked: dict[str, Path] = {}
    for source, given in files:
        checked.setdefault(stored_path(given.replace(os.sep, "/")), Path(source))
    check_nesting(checked)
    for source in checked.values():
        if not source.is_file():
            raise FileNotFoundError(f"Source file not found: {source}")
    return [(source, path) for path, source in checked.items()]


def check_nesting(paths: Collection[str]) -> None:
    """ValueError if one of these paths leads through another one. Cost: that of sorting them."""
    # No character is less than this one, which no path has: behind a path come first those that lead through it.
    for path, following in itertools.pairwise(sorted(path.replace("/", "\0") for path in paths)):
        if following.startswith(f"{path}\0"):
            raise ValueError(f"Invalid artifact path: {following.replace(chr(0), '/')}")


@contextlib.contextmanager
def staging_folder(base: Path) -> Generator[Path]:
    """A new folder below `base` (`artifacts`), removed at the end unless it was moved away.

    Nobody takes it for one that was left, however long that takes.
    """
    area = base / STAGING
    area.mkdir(parents=True, exist_ok=True)
    remove_old(area)
    folder = area / os.urandom(8).hex()
    folder.mkdir()
    try:
        with file_lock(folder / LOCK_FILE):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_old(area: Path, *, older_than_s: float = _KEPT_S) -> int:
    """Remove what killed processes left in the staging area; how many entries. What a process holds the lock of stays."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(area) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > older_than_s:
                    _remove_folder(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
                    removed += 1
    return removed


def _remove_folder(path: str) -> None:
    """OSError if it cannot be removed, or somebody holds its lock."""
    lock = f"{path}/{LOCK_FILE}"
    with file_lock(lock, timeout_s=0.0) if os.path.lexists(lock) else contextlib.nullcontext():
        shutil.rmtree(path)


def stage_files(folder: Path, files: Sequence[StagedFile], content: ContentStore) -> list[FileEntry]:
    """Put copies of the files below `folder/files`, by way of the content store; their entries in the given order.

    FileNotFoundError if a source is gone by now.
    """
    (folder / FILES).mkdir()
    with _progress(files) as progress:
        return _in_threads(lambda number: stage_file(folder, number, *files[number], content, progress), len(files))


def stage_file(
    folder: Path, number: int, source: Path, path: str, content: ContentStore, progress: Progress
) -> FileEntry:
    """Put a copy of one file at `folder/files/<path>`."""
    copy = folder / f"copy-{number}"
    try:
        copied = copy_with_digest(source, copy, progress)
    except FileNotFoundError as error:
        if error.filename != os.fspath(source):
            raise  # it is the place for the copy that is gone
        raise FileNotFoundError(f"Source file not found: {source}") from None
    target = folder.joinpath(FILES, *path.split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    content.place(copy, copied.sha256, copied.size, target)
    return FileEntry(path, copied.size, f"sha256:{copied.sha256}", copied.modified_at)


class _Task(Protocol):
    def __call__(self, number: int, /) -> FileEntry: ...


def _in_threads(task: _Task, count: int) -> list[FileEntry]:
    threads = min(_THREADS, count, os.cpu_count() or 1)
    if threads < 2 or not threading.main_thread().is_alive():  # at the exit of the interpreter no thread can be started
        return [task(number) for number in range(count)]
    with ThreadPoolExecutor(threads, "artifact-files") as executor:
        futures = [executor.submit(task, number) for number in range(count)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _progress(files: Sequence[StagedFile]) -> Generator[Progress]:
    """A progress bar in a terminal, for whatever takes longer than a second."""
    if not _is_terminal():
        yield lambda _: None
        return
    bar = _DelayedBar(lambda: sum(source.stat().st_size for source, _ in files))
    try:
        yield bar.advance
    finally:
        bar.close()


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False


class _DelayedBar:
    """Shows itself when it has been there for a while. Safe for threads."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._done = 0
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._task: Any = None

    def advance(self, count: int) -> None:
        """Count bytes."""
        with self._lock:
            self._done += count
            if self._bar is None and time.monotonic() - self._begin > _SHOW_AFTER_S:
                self._show()
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        bar = self._bar = Progress(
            TextColumn("Saving artifact"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        with contextlib.suppress(OSError):
            self._task = bar.add_task("", total=self._total())
        if self._task is None:
            self._task = bar.add_task("", total=None)
        bar.start()
