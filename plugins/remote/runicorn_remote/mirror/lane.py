"""One lane of a mirror: an SFTP channel of its own, by which one thread brings files.

The quick lane takes what is small or grows, many files at a time; the bulk lane takes large files, so that a checkpoint of
gigabytes holds nothing else up.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence

import msgspec

from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.errors import ConnectionLost, OperationTimeout, RemoteError
from runicorn_remote.mirror.claims import Claims
from runicorn_remote.mirror.copying import Copier, Moved, plan
from runicorn_remote.mirror.failures import Failures
from runicorn_remote.mirror.local_tree import LocalStat, LocalTree, Place, UnsafePlace
from runicorn_remote.mirror.progress import MirrorStats
from runicorn_remote.mirror.state import FileState, MirrorState
from runicorn_remote.mirror.units import SMALL_BYTES, is_append_only
from runicorn_remote.pipeline import Fetched, Pipeline, batches

logger = logging.getLogger("runicorn.remote")

_OF_ONE_FILE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
"""What this machine refuses for one file, or one directory, and may allow for the others."""


class Stopped(Exception):
    """The task was stopped: nothing more is written."""


class Lane:
    """Brings files of one source.

    `check` raises Stopped when the task is to end; it is called before every file. `is_due` says that a file has to be
    looked at, though it seems to be the same.
    """

    def __init__(
        self,
        connection: Connection,
        remote_root: str,
        state: MirrorState,
        claims: Claims,
        stats: MirrorStats,
        failures: Failures,
        check: Callable[[], None],
        is_due: Callable[[RemoteFile], bool],
    ) -> None:
        self._pipeline = Pipeline(connection.open_sftp())
        self._copier = Copier(self._pipeline, remote_root)
        self._state = state
        self._claims = claims
        self._stats = stats
        self._failures = failures
        self._check = check
        self._is_due = is_due

    def close(self) -> None:
        """Close the channel; the thread that waits on it gets ConnectionLost."""
        self._pipeline.close()

    def bring(self, files: Sequence[RemoteFile], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Bring files; `meanwhile` is called between batches. One file's failure is counted and concerns no other.

        ConnectionLost, OperationTimeout, Stopped, or OSError where this machine cannot write.
        """
        small: list[RemoteFile] = []
        for file in files:
            self._check()
            if self._grow(file):
                continue
            if file.size <= SMALL_BYTES:
                small.append(file)
            else:
                self._alone(file, lambda tree, file=file: self._replace(file, tree))
        by_path = {self._copier.remote_path(file.path): file for file in small}
        groups = list(batches([(path, file.size) for path, file in by_path.items()]))
        for batch, fetched in zip(groups, self._pipeline.fetch_batches(groups), strict=True):
            for (path, _), content in zip(batch, fetched, strict=True):
                self._check()
                file = by_path[path]
                self._alone(file, lambda tree, file=file, content=content: self._install(file, tree, content))
            meanwhile()

    def _grow(self, file: RemoteFile) -> bool:
        """Do what can be done by appending, or by nothing; False if the file has to be replaced."""
        is_done = True

        def grow(tree: LocalTree) -> FileState | None:
            nonlocal is_done
            known = self._state.file(file.path)
            with tree.place(file.path) as place:
                local = place.stat()
                action = plan(file, known, local)
                if action == "append" and local is not None:
                    place.require_room(file.size - local.size)
                    grown = self._append(file, known, place, local)
                    is_done = grown is not None
                    return grown
                if action == "replace" and known is not None and self._was_listed_before(file, known):
                    return None
                is_done = action == "nothing" and not self._is_due(file)
            return None

        self._alone(file, grow)
        return is_done

    def _append(self, file: RemoteFile, known: FileState | None, place: Place, local: LocalStat) -> FileState | None:
        try:
            return self._copier.append(file, known, place, local)
        except (RemoteError, OSError, EOFError):
            begun = place.stat()
            # What has arrived is ours, too: the next attempt goes on behind it.
            if known is not None and begun is not None:
                state = msgspec.structs.replace(known, local_size=begun.size, local_mtime_ns=begun.mtime_ns)
                self._state.set_file(file.path, state)
            raise

    def _was_listed_before(self, file: RemoteFile, known: FileState) -> bool:
        """Whether a stream that is shorter in a listing than here was listed before it had grown, and has not been cut."""
        if not is_append_only(file.path) or file.size >= known.local_size:
            return False
        return self._pipeline.stat(self._copier.remote_path(file.path)).size >= known.local_size

    def _replace(self, file: RemoteFile, tree: LocalTree) -> FileState:
        with tree.place(file.path) as place:
            place.require_room(file.size)
            state = self._copier.replace(file, place, is_json=file.path.endswith(".json"))
        self._stats.copied_files += 1
        return state

    def _install(self, file: RemoteFile, tree: LocalTree, content: Fetched | Exception) -> FileState:
        if isinstance(content, Exception):
            raise content
        known = self._state.file(file.path)
        with tree.place(file.path) as place:
            if (
                known is not None
                and content.is_settled
                and plan(file, known, place.stat()) == "nothing"
                and place.holds(content.data)
            ):
                return known  # looked at once more: it has not changed
            place.require_room(len(content.data))
            state = self._copier.install(file, content, place)
        self._stats.copied_files += 1
        return state

    def _alone(self, file: RemoteFile, act: Callable[[LocalTree], FileState | None]) -> None:
        """Do something with one file, and note the result."""
        try:
            tree = self._claims.tree_of(file.path)
            state = None if tree is None else act(tree)
            if state is not None:
                self._state.set_file(file.path, state)
                self._failures.remove(file.path)
        except Moved:  # it is brought by the next scan
            pass
        except (ConnectionLost, OperationTimeout):
            raise
        except (RemoteError, OSError, EOFError) as error:
            if isinstance(error, OSError) and not isinstance(error, UnsafePlace) and error.errno not in _OF_ONE_FILE:
                raise
            if self._failures.add(file.path):
                logger.info("a remote file could not be brought: %s", error)
        finally:
            self._stats.appended_bytes += self._copier.appended_bytes
            self._stats.copied_bytes += self._copier.copied_bytes
            self._copier.appended_bytes = self._copier.copied_bytes = 0


def is_small(file: RemoteFile, state: MirrorState) -> bool:
    """Whether a file is for the quick lane: small, or grown by little."""
    known = state.file(file.path)
    here = known.local_size if known is not None and is_append_only(file.path) else 0
    return file.size - here <= SMALL_BYTES
