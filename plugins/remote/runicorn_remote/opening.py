"""Opening what another program may be slow to open, without holding up who does not want it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_LOOK_S = 0.05


def opened(opening: Callable[[], T], close: Callable[[T], object], given_up: Callable[[], bool], name: str) -> T | None:
    """What `opening` returns or raises, in a thread called `name`; None as soon as it is `given_up`.

    What comes too late is closed by that thread.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            result = opening()
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        if future.set_running_or_notify_cancel():
            future.set_result(result)
        else:
            close(result)

    threading.Thread(target=work, name=name, daemon=True).start()
    while not wait([future], _LOOK_S).done:
        if given_up() and future.cancel():
            return None
    return future.result()
