"""Objects that live as long as something else: caches of an open root, connections of a server process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

logger = logging.getLogger("runicorn.server")

Owner = TypeVar("Owner")
T = TypeVar("T")


@runtime_checkable
class Closeable(Protocol):
    """Something that wants to be told when its owner is closed."""

    async def close(self) -> None:
        """Let go of everything."""
        ...


class Owned(Generic[Owner]):
    """The objects of one owner: at most one of every kind, made on first use, closed with it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._objects: dict[Callable[[Owner], object], object] = {}

    def get(self, kind: Callable[[Owner], T]) -> T:
        """The object that `kind(owner)` makes."""
        found = self._objects.get(kind)
        if found is None:
            found = self._objects[kind] = kind(self._owner)
        return cast(T, found)

    async def close(self, timeout_s: float) -> None:
        """Close those that have a method `close`, all at once; what takes longer is left behind."""
        closing = [asyncio.create_task(kept.close()) for kept in self._objects.values() if isinstance(kept, Closeable)]
        self._objects.clear()
        if not closing:
            return
        done, late = await asyncio.wait(closing, timeout=timeout_s)
        for task in late:
            logger.warning("something of a plugin did not close in time")
            task.cancel()
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("something of a plugin did not close cleanly", exc_info=error)
