"""What becomes a version of its own, wherever its content comes from: committed, aliased, noted in its run, visible."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    MIRRORS,
    Conflict,
    Store,
    Stream,
    Unavailable,
    find_run,
    shown,
)
from runicorn_artifacts.errors import ArtifactLocked
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.run_lists import append_entry, created_entry, logged_event
from runicorn_artifacts.saving import Stored
from runicorn_artifacts.uploads.draft import Draft

logger = logging.getLogger("runicorn.artifacts")


class Saved(msgspec.Struct, frozen=True):
    """A version that is there now."""

    name: str
    type: str
    version: int
    size_bytes: int
    num_files: int
    num_references: int
    manifest_digest: str
    warnings: list[str] = []
    """What could not be done beside: the version is saved nevertheless."""


class Full(msgspec.Struct, frozen=True):
    """The disk is full."""

    detail: str


FULL = {507: ResponseSpec(Full, False, "The server's disk has no room for it.")}


async def run_of(store: Store, draft: Draft) -> str | None:
    """The key of the run that made the version. RunNotFound; Conflict for one whose files belong to another machine."""
    if draft.run_id is None:
        return None
    key = await find_run(store, draft.run_id)
    if key.startswith(f"{MIRRORS}/"):
        raise Conflict(f"The run {shown(draft.run_id)} belongs to another machine")
    return key


async def commit(
    store: Store, type: str, name: str, draft: Draft, run: str | None, save: Callable[[], Stored]
) -> Saved:
    """Save in a thread, with the note in the run, and wait until every reader sees it.

    Unavailable, with nothing saved, if the root was left while the content came.
    """
    if store.leaving.is_set():
        raise Unavailable("The server is stopping, or serves another storage root now. Nothing was saved.")
    metadata, warnings = await asyncio.to_thread(_save_and_note, store, type, name, draft, run, save)
    folder = Lookup(store.root).at(type, name)
    if not store.leaving.is_set():  # nobody reads a root that was left
        await store.until_visible(Stream("artifact", f"{ARTIFACTS}/{folder.path.parent.name}/{name}"))
        if run is not None:
            await store.look(run)
    return Saved(
        name,
        type,
        metadata.version,
        metadata.size_bytes,
        metadata.num_files,
        metadata.num_references,
        f"sha256:{metadata.manifest_digest}",
        warnings,
    )


def _save_and_note(
    store: Store, type: str, name: str, draft: Draft, run: str | None, save: Callable[[], Stored]
) -> tuple[ArtifactMetadata, list[str]]:
    """What is stored, and what could not be done beside."""
    try:
        metadata, manifest = save()
    except ArtifactLocked as error:
        raise Unavailable("Artifact store is busy") from error
    if run is None:
        return metadata, []
    identity = (type, name, metadata.version)
    try:
        append_entry(
            store.root / run / ARTIFACTS_CREATED_FILE,
            created_entry(logged_event(metadata, manifest)),
            lambda known: (known.get("type"), known.get("name"), known.get("version")) == identity,
        )
    except OSError as error:
        reason = error.strerror or error.__class__.__name__
        logger.warning("that the run %s has made %s cannot be noted: %s", draft.run_id, name, reason)
        return metadata, [f"The run {shown(draft.run_id or '')} does not list it: {reason}"]
    return metadata, []
