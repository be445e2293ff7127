"""Events, logs and media of a run that somebody reads: brought into its cache, as far as they have changed."""

from __future__ import annotations

import contextlib
import threading
import time
from stat import S_ISREG

from runicorn.plugin import EVENTS_FILE, LOGS_FILE, RUNNING, STATUS_FILE, SUMMARY_FILE, read_json_object
from runicorn_remote.channels import translated
from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.errors import RemoteError, RemotePathNotFound
from runicorn_remote.mirror.copying import Copier, Moved, plan
from runicorn_remote.paths import is_safe_path
from runicorn_remote.pipeline import Fetched, Pipeline
from runicorn_remote.room import require_room
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.places import EXPERIMENTS

FRESH_S = 2.0
MAX_LOG_BYTES = 16 << 20
"""How much of a log is brought when it is asked for first."""

_LINE_BYTES = 64 << 10
_STATUS_FRESH_S = 5.0


class Tails:
    """Brings what runs of one source have logged. Blocks, for threads; a run is brought by one thread at a time."""

    def __init__(self, connection: Connection, root: str, cache: Cache) -> None:
        self._connection = connection
        self._root = root.rstrip("/")
        self._cache = cache
        self._mutex = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._brought: dict[str, float] = {}
        self._statuses: dict[str, float] = {}

    def is_fresh(self, run: str) -> bool:
        """Whether the run was brought a moment ago."""
        return time.monotonic() - self._brought.get(run, float("-inf")) < FRESH_S

    def bring(self, run: str) -> None:
        """Bring a run up to date, if it is not fresh. RemoteError or OSError if that does not work: it stays as it is."""
        with self._mutex:
            turn = self._turns.setdefault(run, threading.Lock())
        with turn:
            if self.is_fresh(run) or not (self._cache.experiments / run).is_dir():
                return
            pipeline = Pipeline(self._connection.open_sftp())
            try:
                copier = Copier(pipeline, self._root)
                for name in (EVENTS_FILE, LOGS_FILE):
                    with contextlib.suppress(RemotePathNotFound, Moved):
                        self._bring(pipeline, copier, f"{run}/{name}")
                self._bring_status(pipeline, run)
                self._brought[run] = time.monotonic()
            finally:
                with contextlib.suppress(RemoteError, OSError):
                    pipeline.close()

    def bring_file(self, run: str, name: str) -> None:
        """Bring a file of a run as a whole, if it is not here as it is on the server. Errors as of `bring`."""
        path = f"{run}/{name}"
        if not is_safe_path(path.split("/")) or not (self._cache.experiments / run).is_dir():
            return
        with self._mutex:
            turn = self._turns.setdefault(path, threading.Lock())
        with turn:
            pipeline = Pipeline(self._connection.open_sftp())
            try:
                with contextlib.suppress(RemotePathNotFound, Moved):
                    self._bring(pipeline, Copier(pipeline, self._root), path)
            finally:
                with contextlib.suppress(RemoteError, OSError):
                    pipeline.close()

    def _bring(self, pipeline: Pipeline, copier: Copier, path: str) -> None:
        stat = pipeline.stat(f"{self._root}/{path}")
        if not S_ISREG(stat.mode) or not self._is_inside(pipeline, path):
            return
        base, mtime_ns = self._cache.base(path), stat.mtime_s * 10**9
        file = RemoteFile(path, max(0, stat.size - base), mtime_ns)
        with self._cache.tree.place(f"{EXPERIMENTS}/{path}") as place:
            known, local = self._cache.tail(path), place.stat()
            action = plan(file, known, local)
            state = None
            if action == "append" and local is not None:
                require_room(self._cache.directory, file.size - local.size)
                state = copier.append(file, known, place, local, base=base)
            if action == "replace" or (action == "append" and state is None):
                if base != (base := self._beginning(pipeline, path, stat.size)):
                    place.remove()  # what is there begins elsewhere
                    self._cache.set_base(path, base)
                require_room(self._cache.directory, stat.size - base)
                state = copier.replace(RemoteFile(path, stat.size - base, mtime_ns), place, base=base)
            if state is not None:
                self._cache.set_tail(path, state)

    def _beginning(self, pipeline: Pipeline, path: str, size: int) -> int:
        """Where a file begins here: a long log at the start of a line, 16 MiB before its end."""
        start = size - MAX_LOG_BYTES
        if start <= 0 or not _is_log(path):
            return 0
        before = b"".join(pipeline.read(f"{self._root}/{path}", start - 1, start - 1 + _LINE_BYTES))
        return start + before.find(b"\n") if b"\n" in before else start

    def _is_inside(self, pipeline: Pipeline, path: str) -> bool:
        """Whether a file is below the root, links followed."""
        with translated(path):
            root = (pipeline.sftp.normalize(self._root or "/") or "").rstrip("/")
            return (pipeline.sftp.normalize(f"{self._root}/{path}") or "").startswith(f"{root}/")

    def _bring_status(self, pipeline: Pipeline, run: str) -> None:
        """Status and summary of a running run, which the next sync would bring late."""
        directory = self._cache.experiments / run
        if (read_json_object(directory / STATUS_FILE) or {}).get("status") != RUNNING:
            return
        if time.monotonic() - self._statuses.get(run, float("-inf")) < _STATUS_FRESH_S:
            return
        names = (STATUS_FILE, SUMMARY_FILE)
        sizes = [_size(pipeline, f"{self._root}/{run}/{name}") for name in names]
        wanted = [(name, size) for name, size in zip(names, sizes, strict=True) if size is not None]
        answers = pipeline.fetch([(f"{self._root}/{run}/{name}", size) for name, size in wanted])
        for (name, _), answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Fetched) and answer.is_settled:
                with self._cache.tree.place(f"{EXPERIMENTS}/{run}/{name}") as place:
                    with place.replacement() as replacement:
                        replacement.write([answer.data])
                        replacement.install()
                    place.set_mtime(answer.after.mtime_s * 10**9)
        self._statuses[run] = time.monotonic()


def _is_log(path: str) -> bool:
    return path.rpartition("/")[2] == LOGS_FILE


def _size(pipeline: Pipeline, path: str) -> int | None:
    try:
        return pipeline.stat(path).size
    except RemotePathNotFound:
        return None
