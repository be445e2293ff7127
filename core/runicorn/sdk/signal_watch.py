"""Hearing of a signal while the main thread computes in native code, where no Python handler runs.

A training that hangs in a collective operation or a driver would outlive a SIGTERM that ends it without us. The
interpreter's C handler writes the number of each signal to a pipe at once (`signal.set_wakeup_fd`); a thread reads it, and
speaks up if the handler did not run soon.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

_SOON_S = 1.0


class _Pipe(NamedTuple):
    read: int
    write: int


_pipe: _Pipe | None = None


def watch(number: signal.Signals, unhandled: Callable[[], None]) -> None:
    """Call `unhandled` in a thread, a second after each signal of this kind. For the main thread; once per process.

    Nothing is watched where somebody else, such as an event loop, listens to signals in this way already.
    """
    global _pipe
    if _pipe is not None:
        return
    pipe = _Pipe(*os.pipe())
    os.set_blocking(pipe.write, False)
    try:
        if not _send_to(pipe.write, pipe):
            raise OSError("somebody else listens")
        threading.Thread(
            target=_listen, args=(pipe.read, number, unhandled), name="runicorn-signals", daemon=True
        ).start()
    except (ValueError, OSError, RuntimeError):  # not the main thread, or no thread to be had
        for descriptor in pipe:
            os.close(descriptor)
        return
    _pipe = pipe


def die_by(number: signal.Signals) -> None:
    """End the process by the signal, from any thread: Python lets only its main thread restore the default action."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).signal(int(number), None)
        os.kill(os.getpid(), number)
        time.sleep(_SOON_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _send_to(descriptor: int, pipe: _Pipe) -> bool:
    """Have signals written there (-1: nowhere). False if somebody else than us listens: then nothing is changed."""
    previous = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    is_ours = previous in (-1, pipe.write)
    if not is_ours:
        signal.set_wakeup_fd(previous)
    return is_ours


def _listen(descriptor: int, number: signal.Signals, unhandled: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while heard := os.read(descriptor, 256):
            if number in heard:
                time.sleep(_SOON_S)
                unhandled()


def _mute() -> None:
    # A child writes to the same pipe until it has forgotten it: its signals are not ours.
    if _pipe is not None:
        with contextlib.suppress(ValueError):
            _send_to(-1, _pipe)


def _unmute() -> None:
    if _pipe is not None:
        with contextlib.suppress(ValueError, OSError):
            _send_to(_pipe.write, _pipe)


def _forget() -> None:
    global _pipe
    if _pipe is not None:
        _mute()
        for descriptor in _pipe:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _pipe = None


os.register_at_fork(before=_mute, after_in_parent=_unmute, after_in_child=_forget)
