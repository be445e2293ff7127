"""The answer of `GET /api/runs`, kept encoded in blocks of runs that stand next to each other in it.

Ten thousand runs take 25 ms to encode; joined from blocks they take less than one, and an unchanged list costs nothing but
a look at the counter. Where a run has changed, its block is encoded again. The blocks of a long list are compressed: a
hundred thousand runs would take 45 MB, and take a tenth or less.
"""

from __future__ import annotations

import asyncio
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import apsw
import msgspec
import zstandard
from litestar import Response
from litestar.enums import MediaType
from litestar.response import Stream

from runicorn.plugin import Store
from runicorn_runs import queries
from runicorn_runs.staleness import StaleRuns

Version = tuple[str, int, int, int]

_MOST_AT_ONCE = 20_000  # runs
_RUNS_PER_BLOCK = 256  # on average
_SPREAD = 0x9E3779B1  # times this, consecutive numbers have bits in the middle that look random

_encode = msgspec.json.Encoder().encode


class _Block(msgspec.Struct, frozen=True, gc=False):
    """Some runs of the list, encoded."""

    row_ids: array[int]
    data: bytes
    """Each item behind a comma; compressed if `is_packed`."""
    size: int
    """Bytes of the items."""
    is_packed: bool


class RunListing:
    """The encoded list of the runs of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutex = asyncio.Lock()
        self._version: Version = ("", 0, 0, 0)
        self._stale: Mapping[int, float] = {}
        self._blocks: list[_Block] = []

    def version(self) -> Version:
        """Changes exactly when the list does: build of the read model, its two counters, and which runs are stale."""
        model = self._store.model("runs")
        build, changed = model.counter("runs")
        stale = self._store.own(StaleRuns).last_activity()
        return build, changed, model.counter("runs_removed")[1], zlib.crc32(_encode(stale)) if stale else 0

    async def response(self) -> Response[Any]:
        """The answer with the encoded list; a long one is put together while it is sent, so that it never exists whole."""
        blocks = await self._current()
        if not any(block.is_packed for block in blocks):
            return Response(b"".join(_pieces(blocks)), media_type=MediaType.JSON)
        length = {"content-length": str(sum(block.size for block in blocks) + 1)}  # `[` is in place of the first comma
        return Stream(_pieces(blocks), media_type=MediaType.JSON, headers=length)

    async def _current(self) -> list[_Block]:
        async with self._mutex:
            version = self.version()
            stale = self._store.own(StaleRuns).last_activity()
            if version != self._version:
                self._blocks = await self._store.model("runs").run(self._refresh, version, stale)
                self._version, self._stale = version, stale
            return self._blocks

    def _refresh(self, db: apsw.Connection, version: Version, stale: Mapping[int, float]) -> list[_Block]:
        build, changed, _, _ = self._version
        known: dict[int, _Block] = {}
        renewed: set[int] = set()
        if build == version[0]:  # in another build, row ids are those of other runs
            # What changes after `version` was read is newer than it, and comes again next time.
            renewed.update(queries.rows_changed_since(db, changed))
            renewed.update(row_id for row_id, _ in stale.items() ^ self._stale.items())
            known = {block.row_ids[0]: block for block in self._blocks}
        order = array("q", queries.rows_in_list_order(db))
        is_packed = len(order) > _MOST_AT_ONCE
        compressor = zstandard.ZstdCompressor(level=1)
        blocks: list[_Block] = []
        for row_ids in _cut(order):
            block = known.get(row_ids[0])
            if (
                block is None
                or block.is_packed != is_packed
                or block.row_ids != row_ids
                or not renewed.isdisjoint(row_ids)
            ):
                data = self._encoded(db, row_ids, stale)
                # Copied: what `compress` returns keeps the memory that the data would take if they did not shrink.
                packed = bytes(memoryview(compressor.compress(data))) if is_packed else data
                block = _Block(row_ids, packed, len(data), is_packed)
            blocks.append(block)
        return blocks

    def _encoded(self, db: apsw.Connection, row_ids: Collection[int], stale: Mapping[int, float]) -> bytes:
        items = {row_id: _encode(item) for row_id, item in queries.items_of(db, self._store.root, row_ids)}
        for row_id in stale.keys() & items.keys():
            items[row_id] = _stale(items[row_id], stale[row_id])
        return b"".join([b"," + items[row_id] for row_id in row_ids])


def _cut(order: array[int]) -> Iterator[array[int]]:
    """Neighbours, cut where a row id says so: a run that comes or goes changes one block, or two, and moves no other."""
    start = 0
    for place, row_id in enumerate(order):
        if (row_id * _SPREAD >> 16) % _RUNS_PER_BLOCK == 0 and place > start:
            yield order[start:place]
            start = place
    if start < len(order):
        yield order[start:]


def _pieces(blocks: Iterable[_Block]) -> Iterator[bytes]:
    """The JSON array of the items in these blocks."""
    decompressor = zstandard.ZstdDecompressor()
    is_first = True
    for block in blocks:
        data = decompressor.decompress(block.data) if block.is_packed else block.data
        yield b"[" + data[1:] if is_first else data
        is_first = False
    yield b"[]" if is_first else b"]"


def _stale(item: bytes, last_activity: float) -> bytes:
    """The item of a run that is stale; others have neither of these two fields."""
    return item[:-1] + b',"stale":true,"last_activity":' + _encode(last_activity) + b"}"
