"""The index of logs as a worker has it: read by requests, kept level by a process beside the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import apsw
import msgspec

from runicorn.plugin import Health, StorageUnavailable, Store
from runicorn_query.reader import SideFileReader
from runicorn_query.search.hits import LogsState, SearchAnswer
from runicorn_query.search.index_file import IndexState, index_path, open_to_read, state_of
from runicorn_query.search.searching import Request, search
from runicorn_query.search.settings import Settings

logger = logging.getLogger("runicorn.query")

_LOOK_S = 5.0
_AT_ONCE = 2  # searches of one worker; more would only take the processor from each other


class LogIndex:
    """The index of the logs of a store; `store.own(LogIndex)`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = SideFileReader(index_path(store.state_dir), lambda: open_to_read(store.state_dir))
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._state: IndexState | None = None
        self.settings = Settings.load()

    async def search(self, request: Request) -> SearchAnswer:
        """One page, worked out in a thread."""
        async with self._slots:
            return await self._store.model("runs").run(self._search, request)

    def _search(self, runs: apsw.Connection, request: Request) -> SearchAnswer:
        if self.settings.is_off:
            answer = search(runs, None, self._store.root, request)
            return msgspec.structs.replace(answer, logs=LogsState("off"))
        with self._reader.connection() as index:
            return search(runs, index, self._store.root, request)

    async def close(self) -> None:
        """Close the connections."""
        self._reader.close()

    async def watch(self) -> None:
        """Remember the state of the index for `health`, until cancelled."""
        while True:
            with contextlib.suppress(StorageUnavailable):
                self._state = await asyncio.to_thread(self._look)
            await asyncio.sleep(_LOOK_S)

    def health(self) -> Health:
        """One line about the index, from memory."""
        state = self._state
        if self.settings.is_off:
            return Health("ok", "log search: off")
        if state is None:
            return Health("ok", "log search: no index yet")
        more = f", {state.left_out} logs left out" if state.left_out else ""
        building = "" if state.is_complete else ", building"
        return Health(
            "ok",
            f"log search: {state.files} logs of {_mib(state.log_bytes)} in an index of {_mib(state.index_bytes)}"
            f" (at most {self.settings.limit_mib} MiB){more}{building}",
        )

    def _look(self) -> IndexState | None:
        with self._reader.connection() as index:
            return None if index is None else state_of(index)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
