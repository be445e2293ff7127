"""The cache of one remote root: `~/.runicorn_remote_cache/<source key>/`, for its owner only.

| path                    | content                                                                        |
|-------------------------|--------------------------------------------------------------------------------|
| `source.json`           | host, port, username, remote_root, created_at, last_sync                       |
| `index.db`              | what was seen of each file on the server                                       |
| `downloads/`            | files of artifact versions                                                     |
| `metadata/artifacts/`   | copies, byte for byte                                                          |
| `metadata/experiments/` | copies, and the events and logs that were asked for; laid out like a root      |
| `lock`                  | held by the process that writes here                                           |
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import apsw
import msgspec

from runicorn.plugin import Conflict, integer, number, read_json_object, text, write_json
from runicorn_remote.database import open_database
from runicorn_remote.mirror.local_tree import LocalTree
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.state import FileState
from runicorn_remote.smart.places import EXPERIMENTS, is_version, run_of
from runicorn_remote.ticks import Ticks

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS file(
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        is_young INTEGER NOT NULL) WITHOUT ROWID;  -- young: it may have changed within the same tick of the clock
    CREATE TABLE IF NOT EXISTS tail(
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        local_size INTEGER NOT NULL, local_mtime_ns INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cut(
        path TEXT PRIMARY KEY, base INTEGER NOT NULL) WITHOUT ROWID;  -- logs that begin here behind so many bytes
    CREATE TABLE IF NOT EXISTS told(root TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY(root, run)) WITHOUT ROWID;
"""


class CacheBusy(Conflict):
    """Another process writes this cache."""

    def __init__(self) -> None:
        super().__init__("Cache is in use by another process")


class Seen(msgspec.Struct, frozen=True):
    """What the server said of a file when its copy was made."""

    size: int
    mtime_ns: int
    is_young: bool


class CacheTotals(msgspec.Struct, frozen=True):
    """What a cache holds."""

    runs: int = 0
    versions: int = 0
    remote_bytes: int = 0
    """Of all versions on the server, as their metadata say."""
    size_bytes: int = 0
    """Of the cache directory."""


def caches_directory() -> Path:
    """Where all caches are."""
    return Path.home() / ".runicorn_remote_cache"


class Cache:
    """One cache. Whoever writes opens it `for_writing`; for several threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metadata = directory / "metadata"
        self.experiments = self.metadata / EXPERIMENTS
        described = read_json_object(directory / "source.json") or {}
        self.key = directory.name
        username, host = text(described.get("username")) or "", text(described.get("host")) or ""
        self.source = f"{username}@{host}:{integer(described.get('port')) or 22}"
        self.last_sync = number(described.get("last_sync"))
        self.totals = CacheTotals()
        self.ticks = Ticks()
        self._opened_as = secrets.token_hex(6)
        self._changes = 0
        self._mutex = threading.Lock()
        self._lock = -1
        self._db: apsw.Connection | None = None

    @classmethod
    def for_writing(cls, source: RemoteSource) -> Cache:
        """Open, or make, the cache of a source. CacheBusy; OSError where the home directory cannot be written."""
        directory = caches_directory() / source.key
        directory.mkdir(parents=True, exist_ok=True)
        os.chmod(directory, 0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            target = source.target
            described = read_json_object(directory / "source.json") or {"created_at": time.time(), "last_sync": None}
            address = {"host": target.host, "port": target.port, "username": target.username}
            write_json(directory / "source.json", {**described, **address, "remote_root": source.root}, mode=0o600)
            cache = cls(directory)
            cache.experiments.mkdir(parents=True, exist_ok=True)
            cache._db = open_database(directory / "index.db", _SCHEMA)
        except BlockingIOError:
            os.close(lock)
            raise CacheBusy from None
        except BaseException:
            os.close(lock)
            raise
        cache._lock = lock
        cache.measure()
        return cache

    def open_to_read(self) -> None:
        """Have what the index says at hand, as far as it can be read; nothing is written."""
        with contextlib.suppress(apsw.Error):
            self._db = apsw.Connection(os.fspath(self.directory / "index.db"), apsw.SQLITE_OPEN_READWRITE)
            self.measure()

    @property
    def tree(self) -> LocalTree:
        """Where copies are written."""
        return LocalTree(self.metadata)

    @property
    def revision(self) -> str:
        """Another one whenever the copies have changed, and for every `Cache`."""
        return f"{self._opened_as}.{self._changes}"

    def note_change(self) -> None:
        """The copies are others now."""
        with self._mutex:
            self._changes += 1

    def files(self) -> dict[str, Seen]:
        """What the index says, by remote path."""
        rows = self._query("SELECT path, size, mtime_ns, is_young FROM file")
        return {str(path): Seen(cast(int, size), cast(int, mtime), bool(young)) for path, size, mtime, young in rows}

    def commit(self, changed: Mapping[str, Seen], gone: Iterable[str]) -> None:
        """Write what a sync found, in one transaction."""
        with self._mutex:
            db = self._opened()
            with db:
                db.executemany("DELETE FROM file WHERE path = ?", ((path,) for path in gone))
                db.executemany(
                    "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)",
                    ((path, seen.size, seen.mtime_ns, int(seen.is_young)) for path, seen in changed.items()),
                )

    def note_sync(self) -> None:
        """A sync was completed now."""
        self.last_sync = time.time()
        described = read_json_object(self.directory / "source.json") or {}
        write_json(self.directory / "source.json", {**described, "last_sync": self.last_sync}, mode=0o600)

    def tail(self, path: str) -> FileState | None:
        """What was brought of a growing file."""
        for row in self._query("SELECT size, mtime_ns, local_size, local_mtime_ns FROM tail WHERE path = ?", path):
            return FileState(*cast(tuple[int, int, int, int], row))
        return None

    def set_tail(self, path: str, state: FileState) -> None:
        """Note what was brought of a growing file."""
        self._query(
            "INSERT OR REPLACE INTO tail VALUES (?, ?, ?, ?, ?)",
            *(path, state.size, state.mtime_ns, state.local_size, state.local_mtime_ns),
        )

    def base(self, path: str) -> int:
        """How many of the first bytes of a growing file were left out; sizes in its `tail` are those of the rest."""
        for (base,) in self._query("SELECT base FROM cut WHERE path = ?", path):
            return cast(int, base)
        return 0

    def set_base(self, path: str, base: int) -> None:
        """Note that a file begins here behind so many bytes. What was brought of it is not known any more."""
        with self._mutex:
            db = self._opened()
            with db:
                db.execute("DELETE FROM tail WHERE path = ?", (path,))
                db.execute("INSERT OR REPLACE INTO cut VALUES (?, ?)", (path, base))

    def untold_runs(self, root: Path) -> list[str]:
        """Runs of whose origin the log of a storage root does not know yet."""
        told = {str(run) for (run,) in self._query("SELECT run FROM told WHERE root = ?", str(root))}
        runs = {run for path in self.files() if (run := run_of(path)) is not None}
        return sorted(runs - told)

    def set_told(self, root: Path, runs: Iterable[str]) -> None:
        """Note that the log of a storage root knows their origin."""
        with self._mutex:
            self._opened().executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", ((str(root), run) for run in runs))

    def remove_run(self, run: str) -> None:
        """Remove the copies of a run that is gone, and what was brought of it."""
        shutil.rmtree(self.experiments / run, ignore_errors=True)
        with self._mutex:
            for table in ("tail", "cut"):
                self._opened().execute(f"DELETE FROM {table} WHERE path GLOB ?", (f"{_escaped(run)}/*",))

    def remove_version(self, directory: str) -> None:
        """Remove the copies of a version that is gone, given by its directory."""
        shutil.rmtree(self.metadata / directory, ignore_errors=True)
        with self._mutex:
            self._opened().execute("DELETE FROM file WHERE path GLOB ?", (f"{_escaped(directory)}/*",))
        self.note_change()
        self.measure()

    def clear(self) -> None:
        """Forget everything but where it comes from."""
        with self._mutex:
            db = self._opened()
            with db:
                for table in ("file", "tail", "cut"):
                    db.execute(f"DELETE FROM {table}")
        for path in (self.metadata / "artifacts", self.directory / "downloads"):
            shutil.rmtree(path, ignore_errors=True)
        for entry in list(self.experiments.iterdir()):  # the directory itself stays: it may be attached
            shutil.rmtree(entry, ignore_errors=True)
        self.note_change()
        self.measure()

    def measure(self) -> None:
        """Work out the totals again; reads the metadata of every version."""
        files = self.files() if self._db is not None else {}
        versions = [path for path in files if is_version(path)]
        described = (read_json_object(self.metadata / path, limit=None) or {} for path in versions)
        self.totals = CacheTotals(
            runs=len({run for path in files if (run := run_of(path)) is not None}),
            versions=len(versions),
            remote_bytes=sum(max(0, integer(metadata.get("size_bytes")) or 0) for metadata in described),
            size_bytes=_size_of(self.directory),
        )

    def close(self) -> None:
        """Let another process have it."""
        with self._mutex:
            if self._db is not None:
                self._db.close()
                self._db = None
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _query(self, sql: str, *parameters: str | int) -> list[tuple[object, ...]]:
        with self._mutex:
            return cast(list[tuple[object, ...]], self._opened().execute(sql, parameters).fetchall())

    def _opened(self) -> apsw.Connection:
        if self._db is None:
            raise CacheClosed
        return self._db


class CacheClosed(Conflict):
    """The cache was closed meanwhile."""

    def __init__(self) -> None:
        super().__init__("The cache was closed meanwhile")


def _escaped(path: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _size_of(directory: Path) -> int:
    size = 0
    folders = [os.fspath(directory)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size
