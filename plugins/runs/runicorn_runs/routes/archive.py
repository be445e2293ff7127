"""`POST /api/import/archive`: runs out of an archive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgspec
from litestar import Request, post
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromQuery
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import (
    Imported,
    Limits,
    ReadModelBehind,
    StorageUnavailable,
    Store,
    Stream,
    import_archive,
    staging_directory,
)
from runicorn_runs.upload import receive_file

_VISIBLE_S = 5.0
_VISIBLE_PER_RUN_S = 0.005
_LISTED_POLL_S = 0.05
_BREATH_BYTES = 1 << 20
_BREATH_S = 0.0005
_LEFT = "The server is stopping, or serves another storage root now. Nothing was imported."


class ArchiveImported(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: what is new, and what was left out."""

    ok: bool = True
    imported_files: int
    new_run_dirs: list[str]
    new_run_ids: list[str]
    storage: str
    skipped_runs: list[str]
    """Ids of runs that exist already."""
    skipped_files: int
    """Members of the archive that belong to no run, or must not be unpacked."""
    replaced_runs: list[str]
    """Ids of runs that took the place of others."""


@dataclass
class _Upload(Operation):
    """The framework cannot know what a handler reads from the stream itself."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="A zip or tar archive.")
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file}, required=["file"])
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@post(
    "/api/import/archive",
    status_code=HTTP_200_OK,
    operation_id="import_archive",
    operation_class=_Upload,
    request_max_body_size=None,  # counted as it is received
)
async def import_runs(
    request: Request[Any, Any, Any], store: Store, overwrite: FromQuery[bool] = False
) -> ArchiveImported:
    """Take the runs of an archive into the store; those that exist stay as they are, unless `overwrite` is true.

    The type is known by the content: zip, tar, and tar compressed with gzip or zstandard.
    """
    limits = Limits.configured()
    async with _staging(store) as staging:
        archive = staging / "archive"
        try:
            await receive_file(request, archive, limit=limits.upload_bytes)
        except OSError as error:
            raise StorageUnavailable from error
        if store.leaving.is_set():
            raise StorageUnavailable(_LEFT)
        done = await store.own(_Imports).run(archive, staging, limits, overwrite=overwrite)
    return _answer(store, done)


@asynccontextmanager
async def _staging(store: Store) -> AsyncGenerator[Path]:
    directory = staging_directory(store.root)
    path = await asyncio.to_thread(directory.__enter__)
    try:
        yield path
    finally:
        await asyncio.to_thread(directory.__exit__, None, None, None)


class _Imports:
    """The imports that a worker is busy with; they end when the store is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: set[threading.Event] = set()

    async def close(self) -> None:
        """Stop what is on its way."""
        for stop in self._running:
            stop.set()

    async def run(self, archive: Path, staging: Path, limits: Limits, *, overwrite: bool) -> Imported:
        """Import an archive that was received; when this returns, every reader sees the runs."""
        stop = threading.Event()
        self._running.add(stop)
        work = asyncio.ensure_future(asyncio.to_thread(self._import, archive, staging, limits, overwrite, stop))
        try:
            done = await asyncio.shield(work)
        finally:
            stop.set()
            await asyncio.wait([work])  # its directory must not be removed under it
            self._running.discard(stop)
        if done.stream is not None and not self._store.leaving.is_set():  # nobody reads a root that was left
            await self._until_seen(done.stream, {*done.runs, *done.replaced})
        return done

    def _import(self, archive: Path, staging: Path, limits: Limits, overwrite: bool, stop: threading.Event) -> Imported:
        unrested = 0

        def tick(count: int) -> None:
            nonlocal unrested
            if stop.is_set():
                raise StorageUnavailable(_LEFT)
            unrested += count
            if unrested >= _BREATH_BYTES:
                unrested = 0
                time.sleep(_BREATH_S)

        store = self._store
        with archive.open("rb") as file:
            return import_archive(
                store.root, store.state_dir, file, staging, limits=limits, overwrite=overwrite, tick=tick
            )

    async def _until_seen(self, stream: Stream, keys: set[str]) -> None:
        # As long as a projector that is well needs for so many. In any case the import is done, and is answered like that:
        # a client that was told to try again would send all of it again.
        deadline = time.monotonic() + _VISIBLE_S + _VISIBLE_PER_RUN_S * len(keys)
        while time.monotonic() < deadline:
            with contextlib.suppress(ReadModelBehind):
                await self._store.until_visible(stream)
                break
        await self._until_listed(keys, deadline)

    async def _until_listed(self, keys: set[str], deadline: float) -> None:
        model = self._store.model("runs")
        while time.monotonic() < deadline:
            await self._store.discover()
            if await model.run(_are_known, keys):
                return
            await asyncio.sleep(_LISTED_POLL_S)


def _are_known(db: apsw.Connection, keys: set[str]) -> bool:
    return all(db.execute("SELECT 1 FROM run WHERE key = ?", (key,)).fetchall() for key in keys)


def _answer(store: Store, done: Imported) -> ArchiveImported:
    return ArchiveImported(
        imported_files=done.files,
        new_run_dirs=[f"{store.root}/{key}" for key in done.runs],
        new_run_ids=sorted(key.rpartition("/")[2] for key in done.runs),
        storage=str(store.root),
        skipped_runs=done.skipped_runs,
        skipped_files=done.skipped_files,
        replaced_runs=sorted(key.rpartition("/")[2] for key in done.replaced),
    )
