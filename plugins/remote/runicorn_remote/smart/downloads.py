"""Downloads of artifact versions: verified while they are read, continued where files are there already, cancelled at once.

Two at a time, each with a channel of its own; the others wait as `running` with no bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from runicorn.plugin import Conflict, NotFound, shown
from runicorn_remote.connection import Connection
from runicorn_remote.errors import ConnectionLost, OperationTimeout, PermissionDenied, RemoteError, RemotePathNotFound
from runicorn_remote.mirror.local_tree import LocalTree, Place
from runicorn_remote.mirror.progress import one_line
from runicorn_remote.pipeline import Pipeline
from runicorn_remote.room import require_room
from runicorn_remote.smart.versions import Version, VersionFile

logger = logging.getLogger("runicorn.remote")

MAX_RUNNING = 2

_KEPT = 100
_STOP_S = 1.0
_ALGORITHMS = frozenset({"sha256", "md5", "sha1"})
_READ_BYTES = 1 << 20


class DownloadNotFound(NotFound):
    """No such task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Download task not found: {shown(task_id)}")


class NothingToCancel(NotFound):
    """No such task, or it is over."""

    def __init__(self) -> None:
        super().__init__("Task not found or already completed")


class AlreadyRunning(Conflict):
    """The same files are on their way to the same place."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"A download of {version} to this directory is already running")


class DownloadRunning(Conflict):
    """What a download needs cannot be removed."""

    def __init__(self) -> None:
        super().__init__("A download is running")


class DownloadReport(msgspec.Struct, frozen=True):
    """One task, from memory."""

    task_id: str
    artifact_name: str
    artifact_type: str
    artifact_version: int
    target_dir: str
    total_files: int
    downloaded_files: int
    total_bytes: int
    downloaded_bytes: int
    status: Literal["running", "completed", "failed"]
    error: str | None
    started_at: float
    completed_at: float | None


class _Failed(Exception):
    """The text says why."""


class _Cancelled(Exception):
    pass


class Download:
    """One task."""

    def __init__(
        self, connection: Connection, root: str, version: Version, files: list[VersionFile], target: Path,
        turns: threading.Semaphore, after: Callable[[], object],
    ) -> None:  # fmt: skip
        self.task_id = str(uuid.uuid4())
        self.version = version
        self.target = target
        self._connection = connection
        self._remote = f"{root.rstrip('/')}/{version.directory}/files"
        self._files = files
        self._turns = turns
        self._after = after
        self._started_at = time.time()
        self._completed_at: float | None = None
        self._done_files = self._done_bytes = 0
        self._status: Literal["running", "completed", "failed"] = "running"
        self._error: str | None = None
        self._cancelled = threading.Event()
        self._pipeline: Pipeline | None = None
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"download {version}", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._status == "running"

    def start(self) -> None:
        """Begin, or wait for the turn."""
        self._thread.start()

    def cancel(self) -> None:
        """End it; nothing is written when this returns, and complete files stay."""
        self._cancelled.set()
        self._end("failed", "Cancelled by user")
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.close()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def report(self) -> DownloadReport:
        """What it is doing."""
        return DownloadReport(
            task_id=self.task_id,
            artifact_name=self.version.name,
            artifact_type=self.version.type,
            artifact_version=self.version.number,
            target_dir=str(self.target),
            total_files=len(self._files),
            downloaded_files=self._done_files,
            total_bytes=sum(file.size for file in self._files),
            downloaded_bytes=self._done_bytes,
            status=self._status,
            error=self._error,
            started_at=self._started_at,
            completed_at=self._completed_at,
        )

    def _end(self, status: Literal["completed", "failed"], error: str | None) -> None:
        with self._mutex:
            if self._status == "running":
                self._completed_at = time.time()
                self._status, self._error = status, error

    def _work(self) -> None:
        while not self._turns.acquire(timeout=0.1):
            if self._cancelled.is_set():
                return
        try:
            self._bring()
            self._end("completed", None)
        except _Cancelled:
            pass
        except _Failed as failure:
            self._end("failed", str(failure))
        except Exception as error:  # a bug of ours: shown, not silently gone
            if not isinstance(error, RemoteError | OSError):
                logger.exception("the download of %s failed", self.version)
            self._end("failed", _why(error))
        finally:
            self._turns.release()
        if not self._cancelled.is_set():
            self._after()

    def _bring(self) -> None:
        self.target.mkdir(parents=True, exist_ok=True)
        tree = LocalTree(self.target)
        pipeline = self._pipeline = Pipeline(self._connection.open_sftp())
        try:
            for file in self._files:
                self._check()
                before = self._done_bytes
                try:
                    with tree.place(file.path) as place:
                        if _is_there(place, file):
                            self._done_bytes = before + file.size
                        else:
                            self._fetch(pipeline, place, file)
                except (_Cancelled, _Failed):
                    raise
                except (RemoteError, OSError) as error:
                    self._check()
                    raise _Failed(f"Failed to download {file.path}: {_why(error)}") from error
                self._done_files += 1
        finally:
            with contextlib.suppress(RemoteError, OSError):
                pipeline.close()

    def _fetch(self, pipeline: Pipeline, place: Place, file: VersionFile) -> None:
        algorithm, _, expected = file.digest.partition(":")
        if file.digest and algorithm not in _ALGORITHMS:
            raise _Failed(f"Failed to download {file.path}: Unsupported checksum algorithm: {shown(algorithm)}")
        path = f"{self._remote}/{file.path}"
        size = pipeline.stat(path).size
        if size != file.size:
            raise _Failed(f"Failed to download {file.path}: Size mismatch: expected {file.size}, got {size}")
        require_room(self.target, size)
        digest = hashlib.new(algorithm) if file.digest else None

        def pieces() -> Iterator[bytes]:
            for piece in pipeline.read(path, 0, size):
                self._check()
                if digest is not None:
                    digest.update(piece)
                self._done_bytes += len(piece)
                yield piece

        with place.replacement() as replacement:
            written = replacement.write(pieces())
            if written != file.size:
                raise _Failed(f"Failed to download {file.path}: Size mismatch: expected {file.size}, got {written}")
            if digest is not None and digest.hexdigest() != expected.lower():
                got = f"{algorithm}:{digest.hexdigest()}"
                raise _Failed(f"Failed to download {file.path}: Checksum mismatch: expected {file.digest}, got {got}")
            replacement.sync()
            self._check()
            replacement.install()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled


class Downloads:
    """The tasks of this server process, ended ones included: they can be asked about after a disconnect, too."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._tasks: dict[str, Download] = {}
        self._turns = threading.Semaphore(MAX_RUNNING)

    def start(
        self,
        connection: Connection,
        root: str,
        version: Version,
        files: list[VersionFile],
        target: Path,
        after: Callable[[], object],
    ) -> Download:
        """Begin a download; `after` is called in its thread when it has ended by itself. AlreadyRunning."""
        with self._mutex:
            if any(task.is_running and task.target == target for task in self._tasks.values()):
                raise AlreadyRunning(version)
            task = Download(connection, root, version, files, target, self._turns, after)
            self._tasks[task.task_id] = task
            ended = [task_id for task_id, known in self._tasks.items() if not known.is_running]
            for task_id in ended[:-_KEPT]:
                del self._tasks[task_id]
        task.start()
        return task

    def find(self, task_id: str) -> Download:
        """DownloadNotFound if there is no such task."""
        task = self._tasks.get(task_id)
        if task is None:
            raise DownloadNotFound(task_id)
        return task

    def cancel(self, task_id: str) -> None:
        """NothingToCancel if it does not run."""
        task = self._tasks.get(task_id)
        if task is None or not task.is_running:
            raise NothingToCancel
        task.cancel()

    def cancel_all(self) -> None:
        """End every task."""
        for task in self.tasks():
            if task.is_running:
                task.cancel()

    def tasks(self) -> list[Download]:
        """All tasks, the oldest first."""
        with self._mutex:
            return list(self._tasks.values())

    @property
    def active(self) -> int:
        """How many have not ended."""
        return sum(task.is_running for task in self.tasks())


def _is_there(place: Place, file: VersionFile) -> bool:
    """Whether the file was brought before. One without a digest is known by its size."""
    found = place.stat()
    if found is None or found.size != file.size:
        return False
    algorithm, _, expected = file.digest.partition(":")
    if not file.digest:
        return True
    if algorithm not in _ALGORITHMS:
        return False
    digest = hashlib.new(algorithm)
    for piece in place.pieces(_READ_BYTES):
        digest.update(piece)
    return digest.hexdigest() == expected.lower()


def _why(error: Exception) -> str:
    if isinstance(error, RemotePathNotFound):
        return "No such file"
    if isinstance(error, PermissionDenied):
        return "Permission denied"
    if isinstance(error, ConnectionLost | OperationTimeout):
        return "Connection lost"
    if isinstance(error, OSError) and error.errno is not None:
        return "No space left on device" if error.errno == errno.ENOSPC else os.strerror(error.errno)
    return one_line(error)
