"""What a worker does for its supervisor: the two halves of a switch of the root, one order after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from runicorn.errors import StorageUnavailable
from runicorn.root import RootUnusable
from runicorn.server.serving import Serving
from runicorn.server.worker_messages import (
    AbandonRoot,
    CommitRoot,
    Done,
    Order,
    Outcome,
    PrepareRoot,
    Problem,
    Report,
    SwitchWanted,
    decode_order,
)
from runicorn.user_config import NotSaved

logger = logging.getLogger("runicorn.server")


class Orders:
    """Carries out orders on `serving`, and tells by `report` how that went."""

    def __init__(self, serving: Serving, report: Callable[[Report], None]) -> None:
        self._serving = serving
        self._report = report
        self._received = b""
        self._outcome: asyncio.Future[Problem] | None = None
        self._last: asyncio.Task[None] | None = None

    def receive(self, data: bytes) -> None:
        """Take in what came from the supervisor."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            order = decode_order(line)
            if isinstance(order, Outcome):
                if self._outcome is not None and not self._outcome.done():
                    self._outcome.set_result(order.problem)
            else:
                self._last = asyncio.create_task(self._carry_out(order, self._last))

    async def switch_together(self, root: Path, remember: bool) -> None:
        """Have all workers switch. RootUnusable, NotSaved, or StorageUnavailable if a worker did not answer."""
        self._outcome = asyncio.get_running_loop().create_future()
        self._report(SwitchWanted(str(root), remember))
        match await self._outcome:
            case "":
                return
            case "root":
                raise RootUnusable("The storage root cannot be used. The log says why.")
            case "not_saved":
                raise NotSaved
            case "unavailable":
                raise StorageUnavailable("The storage root could not be switched. Try again.")

    async def _carry_out(self, order: Order, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait((after,))
        match order:
            case PrepareRoot(number, root):
                self._report(Done(number, await self._prepare(Path(root))))
            case CommitRoot(number):
                await self._serving.commit()
                self._report(Done(number))
            case AbandonRoot():
                await self._serving.abandon()
            case Outcome():
                pass  # received at once, above

    async def _prepare(self, root: Path) -> Problem:
        try:
            await self._serving.prepare(root)
        except RootUnusable as error:
            logger.error("%s", error)
            return "root"
        except Exception:  # the supervisor waits for an answer, whatever it is
            logger.exception("the storage root %s cannot be opened", root)
            return "unavailable"
        return ""
