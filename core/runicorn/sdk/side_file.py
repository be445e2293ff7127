"""A JSON object beside the run's stream, for readers of 0.4.0 files: `status.json`, `summary.json`.

Several processes change it, each under its lock file and after reading it again; the server's liveness check does the
same, so it never overwrites a `finish()`. What cannot be written is kept, merged, and tried again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from typing import Any, Final, cast

from runicorn.files import file_lock, open_to_read, parse_json, write_json
from runicorn.sdk.later import call_later
from runicorn.sdk.warn_once import Warnings

ABSENT: Final = object()
"""As a value in an update: the key is removed."""

_LOCK_TIMEOUT_S = 2.0  # training goes on even if somebody stopped while holding the lock
_RETRY_S = 1.0


class SideFile:
    """One such file. Never raises because of the storage. Safe for threads, processes, signals and `fork`."""

    def __init__(self, path: str, is_present: Callable[[], bool], warnings: Warnings) -> None:
        self._path = path
        self._is_present = is_present
        self._warnings = warnings
        self._lock = threading.RLock()  # as in the appender: a signal handler gets in, but leaves the work
        self._is_busy = False
        self._update: dict[str, Any] = {}
        self._replace = False
        self._retry_is_planned = False

    def merge(
        self,
        update: dict[str, Any],
        *,
        append_event: Callable[[], dict[str, Any] | None] | None = None,
        replace: bool = False,
    ) -> None:
        """Set keys (or, with `replace`, the whole content).

        `append_event` is called first and under the same lock: the log is never behind the file. It may return more keys
        to set, such as a time that was taken under the lock.
        """
        with self._lock:
            if replace:
                self._update.clear()
                self._replace = True
            self._update.update(update)
            if self._is_busy:
                if append_event is not None:
                    self._update.update(append_event() or {})
                return
            self._save(append_event)
        self._warnings.say()

    def flush(self) -> None:
        """Try to write what could not be written yet."""
        with self._lock:
            if not self._is_busy and (self._update or self._replace):
                self._save(None)
        self._warnings.say()

    def after_fork(self) -> None:
        """In the child: what waits belongs to the parent, which will write it."""
        self._lock = threading.RLock()
        self._is_busy = self._replace = self._retry_is_planned = False
        self._update = {}

    def _save(self, append_event: Callable[[], dict[str, Any] | None] | None) -> None:
        self._is_busy = True
        try:
            with self._locked():
                if append_event is not None:
                    self._update.update(append_event() or {})
                while self._update or self._replace:
                    if not self._is_present():  # purged: neither written nor kept
                        self._update, self._replace = {}, False
                    elif not self._write():
                        break
        finally:
            self._is_busy = False

    def _write(self) -> bool:
        update, replace = self._update, self._replace
        self._update, self._replace = {}, False
        try:
            stored: dict[str, Any] = {} if replace else self._stored()
            merged = {key: value for key, value in {**stored, **update}.items() if value is not ABSENT}
            write_json(self._path, merged)
        except OSError as error:
            self._update, self._replace = ({**update, **self._update}, replace or self._replace)
            self._wait(error)
            return False
        return True

    def _stored(self) -> dict[str, Any]:
        """What the file holds; one that is no JSON object is put aside. OSError if it cannot be read: it may hold more."""
        try:
            with open_to_read(self._path) as file:
                content = file.read()
        except FileNotFoundError:
            return {}
        try:
            value = parse_json(content)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return cast(dict[str, Any], value)
        if content:
            os.replace(self._path, f"{self._path}.corrupt")
        return {}

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """The lock, or nothing if it cannot be had: better a rare lost update than a training that waits or fails."""
        with contextlib.ExitStack() as stack:
            if self._is_present():
                with contextlib.suppress(OSError):
                    stack.enter_context(file_lock(self._path + ".lock", timeout_s=_LOCK_TIMEOUT_S))
            yield

    def _wait(self, error: OSError) -> None:
        name = os.path.basename(self._path)
        reason = error.strerror or type(error).__name__
        self._warnings.note(f"{name}: trouble", f"{name} cannot be written ({reason}): it is tried again later")
        if not self._retry_is_planned:
            self._retry_is_planned = True
            call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_is_planned = False
        self.flush()
