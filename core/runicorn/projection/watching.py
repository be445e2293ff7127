"""Waking up when files change: inotify through watchfiles, polling where that cannot work.

The watched set cannot be changed in place. For a new set a new watcher is made, then the subscriber is told to look at
everything once (what happened in between has no notice), then the old watcher is closed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

logger = logging.getLogger("runicorn.projection")

# Measured: an append wakes us after 8 ms (median) and 10.5 ms (p99), at 1.3 % of a processor when idle.
_DEBOUNCE_MS = 20
_STEP_MS = 5
_LOOK_FOR_MISSING_MS = 1000
_MAX_MISSING = 100
_RETRY_S = 30.0
_NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "lustre", "gpfs", "beegfs", "ceph", "afs", "virtiofs")

Look = Callable[[frozenset[str] | None], None]


class Watcher(threading.Thread):
    """Calls `look(paths)` with the paths that changed, or `look(None)`: look at everything that you care about.

    `look` is called on this thread. In the `polling` mode it gets None every `poll_s` seconds.
    """

    def __init__(self, look: Look, *, force_polling: bool = False, poll_s: float = 0.05) -> None:
        super().__init__(name="watcher", daemon=True)
        self._look = look
        self._poll_s = poll_s
        self._force_polling = force_polling
        self._wanted: tuple[frozenset[str], int] = frozenset(), 0
        self._missing: list[str] = []
        self._changed = threading.Event()
        self._stopping = False
        self.mode: Literal["inotify", "polling"] = "polling" if force_polling else "inotify"

    def watch(self, directories: frozenset[str], replaced: int = 0) -> None:
        """Watch these directories (not what is below their sub-directories) from now on; one may be made later.

        `replaced` is another number than before where one was removed and made again: the watch on it is dead.
        """
        if (directories, replaced) != self._wanted:
            self._wanted = directories, replaced
            self._changed.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._changed.set()

    def run(self) -> None:
        previous: RustNotify | None = None
        while not self._stopping:
            self._changed.clear()
            current = None if self._force_polling else self._make(self._wanted[0])
            self.mode = "polling" if current is None else "inotify"
            self._look(None)
            if previous is not None:
                previous.close()
            previous = current
            if current is None:
                self._poll()
            else:
                self._wait(current)

    def _make(self, directories: frozenset[str]) -> RustNotify | None:
        # One directory that must not be read, or does not exist, would be the end of the whole watcher.
        present = [path for path in directories if os.path.isdir(path)]
        self._missing = sorted(directories.difference(present))[:_MAX_MISSING]
        try:
            # With ignore_permission_denied, a watcher beyond the inotify limit is made and silently does not watch.
            return RustNotify([path for path in present if os.access(path, os.R_OK)], False, False, 300, False, False)
        except FileNotFoundError:
            self._changed.set()  # a directory vanished between the check and the watch: try again
            return None
        except (OSError, WatchfilesRustInternalError) as error:
            logger.warning("cannot watch %d directories (%s): polling", len(directories), error)
            return None

    def _wait(self, notify: RustNotify) -> None:
        while not self._changed.is_set():
            try:
                changes = notify.watch(_DEBOUNCE_MS, _STEP_MS, _LOOK_FOR_MISSING_MS, self._changed)
            except (OSError, WatchfilesRustInternalError) as error:
                # A name that is not UTF-8, for one. What the notice was about is lost, so everything is looked at.
                logger.warning("a notice of the file system was unreadable (%s): looking at everything", error)
                return
            if isinstance(changes, set) and changes:
                self._look(frozenset(path for _, path in changes))
            elif any(os.path.isdir(path) for path in self._missing):
                return

    def _poll(self) -> None:
        waited = 0.0
        while not self._changed.wait(self._poll_s) and (self._force_polling or waited < _RETRY_S):
            waited += self._poll_s
            self._look(None)


def needs_polling(path: Path) -> bool:
    """Whether `path` is on a file system where changes by other machines raise no notice.

    Those of networks are known by their names; `RUNICORN_POLL=1` says it of others, such as a folder shared with a virtual
    machine.
    """
    if os.environ.get("RUNICORN_POLL", "").strip().lower() in ("1", "true", "yes"):
        return True
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    path = path.resolve()
    best, kind = "", ""
    for mount in mounts:
        fields = mount.split(" ")
        if len(fields) > 2:
            point = fields[1].replace("\\040", " ")
            if len(point) >= len(best) and (path.as_posix() + "/").startswith(point.rstrip("/") + "/"):
                best, kind = point, fields[2]
    return kind.startswith(_NETWORK_FILESYSTEMS)
