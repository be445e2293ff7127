"""A storage root as it was: read models of the events up to a moment, and nobody who adds to them.

They are built before the server starts, in a directory of their own that is removed with it. Nothing below the root is
written: nobody observes files, judges runs or records anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

from runicorn.errors import Conflict
from runicorn.events.envelope import Payload
from runicorn.events.log import Stream
from runicorn.events.past import PastLog, moment_text
from runicorn.host import PluginHost
from runicorn.projection.generations import fingerprint
from runicorn.projection.wire import News, Status
from runicorn.store import Store
from runicorn.temporary import temporary_directory


class ReadOnlyPast(Conflict):
    """A command was sent to a server that shows a store as it was."""

    def __init__(self, as_of: float) -> None:
        super().__init__(f"This server shows the store as of {moment_text(as_of)} and changes nothing")


class PastStore(Store):
    """A store whose read models never change. `models_dir` holds them."""

    def __init__(self, root: Path, state_dir: Path, models_dir: Path, host: PluginHost, as_of: float) -> None:
        super().__init__(root, models_dir, host, is_leader=False)
        self.as_of = as_of
        self._moment = as_of
        self.log = PastLog(root, state_dir, as_of)

    async def __aenter__(self) -> PastStore:
        return self

    def now(self) -> float:
        """The time that is shown."""
        return self._moment

    def record(self, *payloads: Payload, ts: float | None = None) -> Stream:
        """ReadOnlyPast, always."""
        raise ReadOnlyPast(self._moment)

    async def until_visible(self, *streams: Stream) -> None:
        """Nothing is added that could be waited for."""

    async def catch_up(self, plugin: str, stream: Stream) -> None:
        """What there was is there. StorageUnavailable if the plugin is not enabled."""
        self.model(plugin)

    async def look(self, key: str) -> None:
        """Files are as they are now, and are not looked at."""

    async def bring(self, key: str, file: str | None = None) -> None:
        """Nothing is brought from a server."""

    async def discover(self) -> None:
        """New directories are not of then."""

    async def news(self) -> AsyncGenerator[list[News]]:
        """There are none until the store is left."""
        yield [News(f"as-of-{int(self._moment)}", 0, after_gap=True)]
        await self.leaving.wait()

    async def projector_status(self) -> Status | None:
        """There is no projector."""
        return None


@contextlib.contextmanager
def past_models(
    log: PastLog, host: PluginHost, progress: Callable[[int], None] = lambda count: None
) -> Generator[Path]:
    """A directory with the read models of all plugins as a `PastStore` reads them, for as long as the context lasts."""
    from runicorn.projection.rebuild import build_aside  # not before: a live server never builds any

    with temporary_directory("as-of") as directory:
        chosen = {plugin.name: found for plugin, found in host.collect("projections")}
        files = {plugin: directory / f"{plugin}-{fingerprint(found)}-000001.db" for plugin, found in chosen.items()}
        build_aside(log, files, chosen, progress)
        yield directory
