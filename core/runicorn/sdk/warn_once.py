"""Warnings of one run: each thing is said once, and never while a lock is held.

A logging handler may well record what it hears in the very run (`log_text`), so saying something inside of a lock could
wait for itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque

logger = logging.getLogger("runicorn")

_MOST = 100
"""Subjects that one run speaks of: a name that is new with every call would otherwise be one more warning each time."""


class Warnings:
    """Collects warnings wherever they arise (`note`) and says them where it is safe (`say`). Safe for threads."""

    def __init__(self) -> None:
        self._noted: set[str] = set()
        self._unsaid: deque[str] = deque()

    def note(self, about: str, text: str) -> None:
        """Remember to say `text`, unless something was said about this before."""
        if about in self._noted or len(self._noted) > _MOST:
            return
        self._noted.add(about)
        is_last = len(self._noted) > _MOST
        self._unsaid.append("further warnings about this run are not shown" if is_last else text)

    def say(self) -> None:
        """Log what was noted."""
        while self._unsaid:
            with contextlib.suppress(IndexError):  # another thread said it
                logger.warning("%s", self._unsaid.popleft())
