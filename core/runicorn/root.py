"""A storage root and its state directory: made, tried out, and kept together.

A state directory holds what was read from one root. In another place than below that root, `root.json` in it says which
one, and nobody uses it for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from runicorn.config import INTERNAL
from runicorn.errors import RunicornError
from runicorn.files import LockTimeout, file_lock, read_json_object, write_json

ROOT_FILE = "root.json"
"""In a state directory outside of its root: whose it is."""

_LOCK_S = 5.0
_PROBE_S = 5.0
_PROBE_TIMEOUT_S = 2.0


class RootUnusable(RunicornError):
    """The root or the state directory cannot be used. The text is for the terminal: it names paths."""

    status = 503


def prepare(root: Path, state_dir: Path) -> None:
    """Create the root with its `runs` directory, and the state directory, and bind the two.

    RootUnusable if the state directory cannot be written or is another root's, or if the root can neither be written nor,
    with its state elsewhere, be read.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # a file of that name: then there are no runs in the legacy layout
            (root / "runs").mkdir(exist_ok=True)
    except OSError as error:
        if not root.is_dir():
            raise RootUnusable(f"The storage root {root} cannot be created: {error.strerror}") from error
        if state_dir == root / INTERNAL / "state":
            raise RootUnusable(
                f"The storage root {root} cannot be written: {error.strerror}. "
                "To serve it read-only, give a directory for the server's own files with --state-dir."
            ) from error
    bind(root, state_dir)


def bind(root: Path, state_dir: Path) -> None:
    """Create the state directory, and note whose it is. RootUnusable if it cannot be written or is another root's."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        _write_and_remove(state_dir)
        if not _is_below(root, state_dir):
            with file_lock(state_dir / f"{ROOT_FILE}.lock", timeout_s=_LOCK_S):
                check_belongs(root, state_dir)
                if read_json_object(state_dir / ROOT_FILE) is None:
                    write_json(state_dir / ROOT_FILE, {"root": os.path.realpath(root)}, fsync=True)
    except LockTimeout as error:
        raise RootUnusable(f"The state directory {state_dir} is locked by another process. Try again.") from error
    except OSError as error:
        raise RootUnusable(
            f"The state directory {state_dir} cannot be written: {error.strerror}. Choose another with --state-dir."
        ) from error


def check_belongs(root: Path, state_dir: Path) -> None:
    """RootUnusable if the state directory was made for another root. Writes nothing."""
    known = (read_json_object(state_dir / ROOT_FILE) or {}).get("root")
    if isinstance(known, str) and known != os.path.realpath(root) and not _is_below(root, state_dir):
        raise RootUnusable(
            f"The state directory {state_dir} belongs to the storage root {known}, not to {root}. Choose another with "
            f"--state-dir; or, if this is the same root in a new place, remove {state_dir / ROOT_FILE}."
        )


def _is_below(root: Path, state_dir: Path) -> bool:
    return Path(os.path.realpath(root)) in Path(os.path.realpath(state_dir)).parents


class WritableRoot:
    """Whether a root can be written, as it was found a few seconds ago."""

    def __init__(self, root: Path, *, every_s: float = _PROBE_S, timeout_s: float = _PROBE_TIMEOUT_S) -> None:
        self.is_writable = False
        self._root = root
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._proved = False

    async def watch(self) -> None:
        """Keep `is_writable` true to the facts, until cancelled.

        One look at a time, in a thread of its own: a network file system may let it wait for minutes, and the threads of
        others must not wait with it.
        """
        executor = ThreadPoolExecutor(1, "writable-root")
        look: Future[bool] | None = None
        try:
            while True:
                if look is None or look.done():
                    look = executor.submit(self.look)
                try:
                    self.is_writable = await asyncio.wait_for(
                        asyncio.shield(asyncio.wrap_future(look)), self._timeout_s
                    )
                except TimeoutError:
                    self.is_writable = False
                await asyncio.sleep(self._every_s)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def look(self) -> bool:
        """Find out now. Blocks for as long as the file system does."""
        if os.access(self._root, os.W_OK) and not self._proved:
            # Proved by doing it, once: to the superuser every file system says that it can be written.
            try:
                (self._root / INTERNAL).mkdir(exist_ok=True)
                _write_and_remove(self._root / INTERNAL)
            except OSError:
                return False
            self._proved = True
        return self._proved and os.access(self._root, os.W_OK)


def _write_and_remove(directory: Path) -> None:
    probe = directory / f".probe-{os.getpid()}"
    probe.write_bytes(b"")
    probe.unlink()
