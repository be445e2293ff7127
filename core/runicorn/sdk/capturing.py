"""`environment.json`, written in the background: asking git, GPUs and packages takes from 50 ms to many seconds.

One daemon thread per process takes one run after the other, and soon after one another with the same answer. It starts
a little late, so that it does not compete with the first steps of a training, and at exit it is waited for only briefly.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runicorn.sdk.environment import EnvironmentInfo

logger = logging.getLogger("runicorn")

_START_S = 0.1
_SAME_S = 60.0
_FORK_WAIT_S = 2.0
_IMPORTED_LATE = ("importlib.metadata", "platform", "subprocess")  # by the capture, while it runs


class _Capturing:
    """The thread, what it has to do, and what it found out last."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: deque[tuple[Path, Callable[[], bool], str]] = deque()
        self.is_working = False
        self.is_exiting = threading.Event()
        self.importing = threading.Lock()
        self.last: tuple[str, float, EnvironmentInfo] | None = None

    def add(self, path: Path, is_present: Callable[[], bool]) -> None:
        with self.changed:
            self.jobs.append((path, is_present, _working_directory()))
            if not self.is_working:
                thread = threading.Thread(target=self._work, name="runicorn-environment", daemon=True)
                thread.start()
                self.is_working = True

    def wait(self, timeout_s: float) -> bool:
        self.is_exiting.set()
        with self.changed:
            return self.changed.wait_for(lambda: not self.is_working, timeout_s)

    def _work(self) -> None:
        self.is_exiting.wait(_START_S)
        with self.importing:
            for name in _IMPORTED_LATE:
                importlib.import_module(name)
            from runicorn.sdk.environment import EnvironmentCapture
        while True:
            with self.changed:
                if not self.jobs:
                    self.is_working = False
                    self.changed.notify_all()
                    return
                path, is_present, directory = self.jobs.popleft()
            try:
                capture = EnvironmentCapture(directory)
                info = self._known(directory)
                if info is None:
                    info = capture.capture_all()
                    self.last = directory, time.monotonic(), info
                else:
                    info.env_variables = capture.get_env_variables()
                if is_present():
                    info.save(path)
            except OSError as error:
                logger.info("the environment of the run was not recorded: %s", error.strerror)
            except Exception:
                logger.warning("the environment of the run was not recorded", exc_info=True)

    def _known(self, directory: str) -> EnvironmentInfo | None:
        if self.last is not None and self.last[0] == directory and time.monotonic() - self.last[1] < _SAME_S:
            return self.last[2]
        return None


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "."


_capturing = _Capturing()
_forking_thread: int | None = None


def capture_environment(path: Path, is_present: Callable[[], bool]) -> None:
    """Write the environment of this process to `path` soon, unless the run is gone by then. Never raises."""
    try:
        _capturing.add(path, is_present)
    except RuntimeError as error:  # no more threads
        logger.info("the environment of the run is not recorded: %s", error)


def wait_for_captures(timeout_s: float) -> bool:
    """Wait until nothing is being captured, at most `timeout_s`; whether that was so. For the end of the process."""
    return _capturing.wait(timeout_s)


def _before_fork() -> None:
    # A child forked while another thread imports a module can never import that module: its lock stays taken.
    global _forking_thread
    if _capturing.importing.acquire(timeout=_FORK_WAIT_S):
        _forking_thread = threading.get_ident()


def _after_fork_in_parent() -> None:
    global _forking_thread
    if _forking_thread == threading.get_ident():
        _forking_thread = None
        _capturing.importing.release()


def _after_fork_in_child() -> None:
    global _capturing, _forking_thread
    _capturing = _Capturing()
    _forking_thread = None


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
