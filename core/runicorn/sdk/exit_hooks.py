"""What becomes of a run whose process ends without `finish()`.

An uncaught exception makes it `failed`, Ctrl-C and SIGTERM make it `interrupted`; a normal exit leaves the status to the
server's liveness check, as does a kill. The hooks act only on runs that this very process began: a forked child inherits
the hooks, but no runs. In interactive interpreters exceptions end nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType, TracebackType
from typing import Any, Protocol

from runicorn.run_files import FAILED, INTERRUPTED
from runicorn.sdk.capturing import wait_for_captures
from runicorn.sdk.signal_watch import die_by, watch

_EXIT_WAIT_S = 0.5
_AGAIN_S = 0.05
_PATIENCE_S = 5.0  # a second SIGTERM after that ends the process whatever the first one is waiting for


class Endable(Protocol):
    """A run, as far as the end of its process matters."""

    def end(self, status: str, exit_reason: str) -> None:
        """Record an end that the training did not announce."""

    def save(self, *, is_last: bool = False) -> None:
        """Write whatever waits in memory; `is_last`: and warn about what is lost now."""


_open: dict[str, Endable] = {}
"""Runs that this process began and has not finished, by run directory."""
_all: weakref.WeakSet[Endable] = weakref.WeakSet()
_is_installed = False
_sigterm_at: float | None = None
_sigterm_is_recorded = False


def begun(run_dir: str, run: Endable) -> None:
    """This process runs `run` from now on; another object for the same directory is superseded."""
    _install()
    _open[run_dir] = run
    _all.add(run)


def joined(run: Endable) -> None:
    """This process records into a run that another one began."""
    _install()
    _all.add(run)


def finished(run_dir: str) -> None:
    """The run was ended explicitly; the hooks leave it alone."""
    _open.pop(run_dir, None)


def end_of(error: BaseException | type[BaseException]) -> tuple[str, str]:
    """Status and exit reason for a training that ends by `error`."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, KeyboardInterrupt):
        return INTERRUPTED, "keyboard_interrupt"
    return FAILED, "exception"


def _install() -> None:
    global _is_installed
    if not _is_installed:
        _is_installed = True
        _chain_excepthook()
        atexit.register(_at_exit)
    # Each time: the first run may have been begun by another thread, and a forked child has lost the handler.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError, OSError):  # a sub-interpreter may not
            signal.signal(signal.SIGTERM, _on_sigterm)
            watch(signal.SIGTERM, _on_sigterm_in_native_code)


def _end_all(status: str, exit_reason: str) -> None:
    for run in list(_open.values()):
        run.end(status, exit_reason)


def _chain_excepthook() -> None:
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> Any:
        try:
            if not hasattr(sys, "ps1") and not sys.flags.interactive:
                _end_all(*end_of(kind))
        finally:
            previous(kind, error, traceback)

    sys.excepthook = hook


def _at_exit() -> None:
    wait_for_captures(_EXIT_WAIT_S)
    for run in list(_all):
        run.save(is_last=True)


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    # The interrupted main thread may hold any lock, so another thread records the end, and then sends the signal again.
    global _sigterm_at
    if _sigterm_is_recorded or not (_open or _sigterm_at):
        _die()
    elif _sigterm_at is None:
        _sigterm_at = time.monotonic()
        try:
            threading.Thread(target=_record_sigterm, name="runicorn-sigterm").start()
        except RuntimeError:  # no thread to be had, for example while the interpreter shuts down
            _die()
    elif time.monotonic() - _sigterm_at > _PATIENCE_S:
        _die()


def _on_sigterm_in_native_code() -> None:
    # The handler waits until the main thread is back, which may be never; somebody else's is not replaced.
    global _sigterm_at
    if _sigterm_at is None and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        _sigterm_at = time.monotonic()
        try:
            _record_end()
        finally:
            die_by(signal.SIGTERM)


def _record_end() -> None:
    global _sigterm_is_recorded
    try:
        _end_all(INTERRUPTED, "sigterm")
        for run in list(_all):
            run.save(is_last=True)
    finally:
        _sigterm_is_recorded = True


def _record_sigterm() -> None:
    try:
        _record_end()
    finally:
        main = threading.main_thread()
        # Again and again: a signal that arrives between the last look of the interpreter and the system call in which
        # the main thread goes to sleep wakes nobody.
        deadline = time.monotonic() + _PATIENCE_S
        while main.is_alive():
            signal.pthread_kill(main.ident or 0, signal.SIGTERM)
            time.sleep(_AGAIN_S)
            if time.monotonic() > deadline:  # it is in native code again
                die_by(signal.SIGTERM)


def _die() -> None:
    """End by the signal itself: whoever sent it sees the exit status that it expects."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _after_fork() -> None:
    global _sigterm_at, _sigterm_is_recorded
    _open.clear()
    _sigterm_at, _sigterm_is_recorded = None, False
    # A worker is often stopped while it computes in native code, where a Python handler would not run.
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_after_fork)
