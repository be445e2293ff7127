"""Pushing runs: streams grow there by append, every other file is replaced atomically, nothing is deleted.

A push that was cut off goes on where it ended: what is there already is compared, and only the rest is sent. Runs are pushed
in groups, so that a delay of the link is paid per group and not per file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from runicorn.plugin import (
    EVENTS_FILE,
    LOGS_FILE,
    META_FILE,
    STATUS_FILE,
    Conflict,
    LockTimeout,
    config_file,
    file_lock,
    open_to_read,
)
from runicorn_remote.connection import Connection
from runicorn_remote.errors import NotADirectory
from runicorn_remote.mirror.units import is_append_only
from runicorn_remote.paths import part_name
from runicorn_remote.pipeline import batches
from runicorn_remote.push.comparing import is_same_beginning
from runicorn_remote.push.local_runs import LocalFile, files_of
from runicorn_remote.push.writing import RemoteIncomplete, Writing, WritingPipeline
from runicorn_remote.sftp_client import RemoteStat

_GROUP_FILES = 1024
_GROUP_RUNS = 128  # each holds the descriptor of a lock
_YOUNG_NS = 2_000_000_000
_MAX_META_BYTES = 1 << 20


class NotOurs(Conflict):
    """A run there is not the one here: one of its files tells."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The remote file is not the beginning of the local one: {path}")


class PushBusy(Conflict):
    """Another process pushes this run to this place."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Another process pushes this run: {key}")


class PushIncomplete(Conflict):
    """The server has fewer bytes than it was sent."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The remote file is incomplete (is the disk full?): {path}")


class RunAhead(Conflict):
    """A run there has all that is here, and more: it goes on there, or elsewhere."""

    def __init__(self, path: str) -> None:
        super().__init__(f"Already there, and more: {path}")


class NotReplaced(Conflict):
    """A file was sent, and cannot be put in its place."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The remote file cannot be replaced (is it a directory, or has the server no posix-rename?): {path}"
        )


class PushStats(msgspec.Struct):
    """What was sent."""

    runs: int = 0
    """That are there now, or were before."""
    files: int = 0
    sent_bytes: int = 0
    conflicts: list[str] = []
    """A sentence for each run that is not there."""
    ahead: list[str] = []
    """A sentence for each run that has more there than here; nothing of it was changed."""

    def note(self, failure: Conflict | None) -> None:
        """What became of one run."""
        if failure is None or isinstance(failure, RunAhead):
            self.runs += 1
        if failure is not None:
            told = self.ahead if isinstance(failure, RunAhead) else self.conflicts
            told.append(str(failure))


class Pushed(msgspec.Struct, frozen=True):
    """What became of a run: `failure` is None if it is there now."""

    key: str
    failure: Conflict | None


class _Run:
    """A run of the group that is being pushed."""

    def __init__(self, key: str, files: Sequence[LocalFile]) -> None:
        self.key = key
        self.files = files
        """Those that may have to be sent."""
        self.todo: list[tuple[LocalFile, RemoteStat | None]] = []
        self.failure: Conflict | None = None


class Pusher:
    """Pushes runs of the root `local` below the directory `remote`, over one connection. Use another one after a loss."""

    def __init__(self, connection: Connection, local: Path, remote: str, stats: PushStats) -> None:
        """Opens a channel; `close` it. The errors of `Connection.open_sftp`."""
        self._connection = connection
        self._pipeline = WritingPipeline(connection.open_sftp())
        self._local = local
        self._remote = remote.rstrip("/")
        self._place = f"{connection.connection_id}\n{remote}\n{local}"
        self._stats = stats
        self._made: set[str] = set()
        self._sent: dict[str, LocalFile] = {}
        self._ours: set[str] = set()

    def close(self) -> None:
        """Close the channel."""
        with contextlib.suppress(EOFError, OSError):  # of a connection that is lost
            self._pipeline.close()

    def forget(self) -> None:
        """Look at the files there again, also at those that were sent before and have not changed here."""
        self._sent.clear()
        self._ours.clear()

    def push(self, keys: Iterable[str]) -> Iterator[Pushed]:
        """Push runs; each, once it is there or known not to be. The stats count files and bytes.

        A run that cannot be pushed concerns no other. Errors of the connection end the push, as do those by which the
        server refuses to be written to.
        """
        with contextlib.ExitStack() as locks:
            group: list[_Run] = []
            for key in keys:
                run = self._begun(key, locks)
                group.append(run)
                if len(group) >= _GROUP_RUNS or sum(len(run.files) for run in group) >= _GROUP_FILES:
                    yield from self._push(group)
                    locks.close()
                    group = []
            yield from self._push(group)

    def _begun(self, key: str, locks: contextlib.ExitStack) -> _Run:
        mark = hashlib.sha256(f"{self._place}\n{key}".encode()).hexdigest()[:16]
        directory = config_file().parent / "pushes"
        directory.mkdir(parents=True, exist_ok=True)
        try:
            locks.enter_context(file_lock(directory / f"{mark}.lock", timeout_s=0.0))
        except LockTimeout:
            run = _Run(key, ())
            run.failure = PushBusy(key)
            return run
        return _Run(key, [file for file in files_of(self._local, key) if self._sent.get(file.path) != file])

    def _push(self, group: Sequence[_Run]) -> Iterator[Pushed]:
        before = self._pipeline.sent_bytes
        try:
            self._look([run for run in group if run.files and run.failure is None])
            self._make_directories(group)
            for step in (_is_stream, _is_other, _is_status):
                self._send(group, step)
        finally:
            self._stats.sent_bytes += self._pipeline.sent_bytes - before
        for run in group:
            yield Pushed(run.key, run.failure)

    # ── what is there ───────────────────────────────────────────────────────

    def _look(self, runs: Sequence[_Run]) -> None:
        """Decide what has to be sent of each run, before anything of it is changed."""
        paths = list(dict.fromkeys(path for run in runs for path in _paths_of(run)))
        there = dict(zip(paths, self._pipeline.stats([self._there(path) for path in paths]), strict=True))
        for run in runs:
            try:
                self._decide(run, there)
            except Conflict as failure:
                run.failure, run.todo = failure, []

    def _decide(self, run: _Run, there: Mapping[str, RemoteStat | Exception | None]) -> None:
        is_ours = run.key in self._ours
        present: dict[str, RemoteStat] = {}
        same: list[LocalFile] = []
        ahead = None
        for path in _paths_of(run):
            found = there[path]
            if isinstance(found, Exception):
                raise found
            if found is not None:
                present[path] = found
        for file in run.files:
            found = present.get(file.path)
            is_same = found is not None and (found.size, found.mtime_s) == (file.size, _seconds(file))
            if is_same:
                same.append(file)
            else:
                run.todo.append((file, found))
            if found is not None and is_append_only(file.path):
                if not stat.S_ISREG(found.mode) or not (is_same or self._is_beginning(file, found)):
                    raise NotOurs(file.path)
                is_ours = is_ours or min(found.size, file.size) > 0
                if found.size > file.size:
                    ahead = ahead or RunAhead(file.path)
        if not is_ours:
            self._check_owner(run, present)
        if ahead is not None:
            raise ahead
        self._ours.add(run.key)
        self._sent.update((file.path, file) for file in same)

    def _is_beginning(self, file: LocalFile, found: RemoteStat) -> bool:
        sent = self._sent.get(file.path)
        if sent is not None and sent.size == found.size <= file.size:
            return True  # as we left it
        count = min(found.size, file.size)
        try:
            with open_to_read(self._local / file.path) as content:
                return is_same_beginning(self._connection, self._pipeline, self._there(file.path), content, count)
        except FileNotFoundError:  # gone since it was listed
            return True

    def _check_owner(self, run: _Run, present: Mapping[str, RemoteStat]) -> None:
        """No stream tells whose a run is that is there: `meta.json` has to be ours. NotOurs."""
        ours = {file.path: file for file in run.files}
        for path, found in present.items():
            if is_append_only(path) and found.size > 0:  # ours is empty, or there is none
                raise NotOurs(path)
        others = [path for path in present if path in ours and not is_append_only(path)]
        if not others:
            return
        meta = f"{run.key}/{META_FILE}"
        if meta not in present or meta not in ours:
            different = [path for path in others if present[path].size != ours[path].size]
            if different:
                raise NotOurs(different[0])
            return
        size = ours[meta].size
        if present[meta].size != size or size > _MAX_META_BYTES:
            raise NotOurs(meta)
        try:
            content = (self._local / meta).read_bytes()
        except FileNotFoundError:  # gone since it was listed
            return
        if b"".join(self._pipeline.read(self._there(meta), 0, size)) != content:
            raise NotOurs(meta)

    # ── sending ─────────────────────────────────────────────────────────────

    def _make_directories(self, group: Sequence[_Run]) -> None:
        needed = {posixpath.dirname(self._there(file.path)) for run in group for file, found in run.todo if not found}
        missing: dict[str, None] = {}
        for directory in sorted(needed):
            parts = directory.strip("/").split("/")
            for end in range(1, len(parts) + 1):
                path = "/" + "/".join(parts[:end])
                if path not in self._made:
                    missing[path] = None
        self._pipeline.make_directories(list(missing))
        self._made.update(missing)

    def _send(self, group: Sequence[_Run], step: Callable[[str], bool]) -> None:
        chosen = [(run, file, found) for run in group for file, found in run.todo if step(file.path)]
        sizes = [(str(number), file.size) for number, (_, file, _) in enumerate(chosen)]
        for batch in batches(sizes):
            with contextlib.ExitStack() as contents:
                self._send_batch([chosen[int(number)] for number, _ in batch], contents)

    def _send_batch(
        self, batch: Sequence[tuple[_Run, LocalFile, RemoteStat | None]], contents: contextlib.ExitStack
    ) -> None:
        writings: list[tuple[_Run, LocalFile, Writing]] = []
        for run, file, found in batch:
            if run.failure is not None:
                continue
            try:
                content = contents.enter_context(open_to_read(self._local / file.path))
            except FileNotFoundError:  # gone since it was listed
                continue
            if not is_append_only(file.path):
                file = _as_opened(file, content)
            writings.append((run, file, self._writing(file, content, found)))
        results = self._pipeline.write([writing for _, _, writing in writings])
        parts: list[tuple[_Run, LocalFile, str]] = []
        for (run, file, writing), failure in zip(writings, results, strict=True):
            if isinstance(failure, RemoteIncomplete | NotADirectory):  # a failure without a reason, such as a full disk
                run.failure = run.failure or PushIncomplete(file.path)
            elif failure is not None:
                raise failure
            elif writing.how == "replace":
                parts.append((run, file, writing.path))
            else:
                self._done(file)
        renamed = self._pipeline.rename([(part, self._there(file.path)) for _, file, part in parts])
        for (run, file, _), failure in zip(parts, renamed, strict=True):
            if isinstance(failure, NotADirectory):
                run.failure = run.failure or NotReplaced(file.path)
            elif failure is not None:
                raise failure
            else:
                self._done(file)

    def _writing(self, file: LocalFile, content: BinaryIO, found: RemoteStat | None) -> Writing:
        path = self._there(file.path)
        seconds = _seconds(file) - (time.time_ns() - file.mtime_ns < _YOUNG_NS)
        if not is_append_only(file.path):
            directory, name = posixpath.split(path)
            mark = hashlib.sha256(self._place.encode()).hexdigest()[:16]
            # The same name each time: what a killed push left is written over.
            return Writing(f"{directory}/{part_name(name, mark)}", content, 0, file.size, seconds, "replace")
        offset = 0 if found is None else found.size
        content.seek(offset)
        return Writing(path, content, offset, file.size, seconds, "create" if found is None else "extend")

    def _done(self, file: LocalFile) -> None:
        self._sent[file.path] = file
        self._stats.files += 1

    def _there(self, path: str) -> str:
        return f"{self._remote}/{path}"


def _paths_of(run: _Run) -> list[str]:
    """Its files, and the streams by which a run there would be known that has none here."""
    own = [file.path for file in run.files]
    return list(dict.fromkeys([*own, f"{run.key}/{EVENTS_FILE}", f"{run.key}/{LOGS_FILE}"]))


def _is_stream(path: str) -> bool:
    return is_append_only(path)


def _is_status(path: str) -> bool:
    return posixpath.basename(path) == STATUS_FILE


def _is_other(path: str) -> bool:
    return not _is_stream(path) and not _is_status(path)


def _seconds(file: LocalFile) -> int:
    return file.mtime_ns // 10**9


def _as_opened(file: LocalFile, content: BinaryIO) -> LocalFile:
    """The run may have replaced a file since it was listed: what was opened is sent, all of it."""
    now = os.fstat(content.fileno())
    return msgspec.structs.replace(file, size=now.st_size, mtime_ns=now.st_mtime_ns)
