"""Deleting and restoring versions, and setting aliases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
from litestar import delete, post, put
from litestar.params import FromPath, FromQuery
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import BadInput, Serving, StorageUnavailable, Store, Stream, Unavailable, shown
from runicorn_artifacts import deleting, promoting
from runicorn_artifacts.errors import AliasNotFound, ArtifactLocked
from runicorn_artifacts.naming import is_legal_alias
from runicorn_artifacts.pool import pool_of
from runicorn_artifacts.queries import Candidate, aliases_by_version
from runicorn_artifacts.routes.elsewhere import elsewhere
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, find_version, folder_of

T = TypeVar("T")


class Deleted(msgspec.Struct, frozen=True):
    """The answer of `DELETE /api/artifacts/{name}/v{version}`."""

    success: bool
    message: str
    bytes_freed: int


class Done(msgspec.Struct, frozen=True):
    """It is done."""

    success: bool
    message: str


@delete("/api/artifacts/{name:str}/{version:str}", status_code=HTTP_200_OK, operation_id="delete_artifact_version")
async def delete_artifact_version(
    name: FromPath[str],
    version: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
    permanent: FromQuery[bool] = False,
) -> Deleted:
    """Mark a version as deleted, or remove it for good with the contents that only it had."""
    freed = 0
    what = "Permanently deleted" if permanent else "Soft deleted"
    other = elsewhere(serving)
    if other is not None:
        there, number = await asyncio.to_thread(other.find_version, name, version, type)
        if permanent:
            freed = await other.place.purge(other.key_of(there), number)
        else:
            await other.place.soft_delete(other.key_of(there), number)
        return Deleted(True, f"{what} {there.name}:v{number} on {other.place.title}", freed)
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    if permanent:
        pool = pool_of(store.root)
        freed = await change(store, artifact, lambda: deleting.purge(folder, row.version, pool))
    else:
        await change(store, artifact, lambda: deleting.soft_delete(folder, row.version))
    return Deleted(True, f"{what} {artifact.name}:v{row.version} locally", freed)


@post(
    "/api/artifacts/{name:str}/{version:str}/restore",
    status_code=HTTP_200_OK,
    operation_id="restore_artifact_version",
)
async def restore_artifact_version(
    name: FromPath[str], version: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> Done:
    """Take back a soft deletion. The body is ignored."""
    other = elsewhere(serving)
    if other is not None:
        there, number = await asyncio.to_thread(other.find_version, name, version, type)
        await other.place.restore(other.key_of(there), number)
        return Done(True, f"Restored {there.name}:v{number} on {other.place.title}")
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    await change(store, artifact, lambda: deleting.restore(folder, row.version))
    return Done(True, f"Restored {artifact.name}:v{row.version} locally")


@put(
    "/api/artifacts/{name:str}/{version:str}/aliases/{alias:str}",
    status_code=HTTP_200_OK,
    operation_id="set_artifact_alias",
)
async def set_artifact_alias(
    name: FromPath[str],
    version: FromPath[str],
    alias: FromPath[str],
    store: Store,
    serving: Serving,
    type: FromQuery[str | None] = None,
) -> Done:
    """Let an alias point to a version, from wherever it pointed before. The body is ignored."""
    other = elsewhere(serving)
    if other is not None:
        there, number = await asyncio.to_thread(other.find_version, name, version, type)
        _check_alias(alias)
        await other.place.set_alias(other.key_of(there), alias, number)
        return Done(True, f"{there.name}:{alias} is v{number} now on {other.place.title}")
    artifact, row = await find_version(store, name, version, type)
    _check_alias(alias)
    folder = folder_of(store.root, artifact)
    await change(store, artifact, lambda: promoting.set_alias(folder, alias, row.version))
    return Done(True, f"{artifact.name}:{alias} is v{row.version} now")


@delete("/api/artifacts/{name:str}/aliases/{alias:str}", status_code=HTTP_200_OK, operation_id="remove_artifact_alias")
async def remove_artifact_alias(
    name: FromPath[str], alias: FromPath[str], store: Store, serving: Serving, type: FromQuery[str | None] = None
) -> Done:
    """Remove an alias; the version stays."""
    other = elsewhere(serving)
    if other is not None:
        there = await asyncio.to_thread(other.find, name, type)
        _check_alias(alias)
        if alias not in await asyncio.to_thread(lambda: there.aliases):
            raise AliasNotFound(alias, there.name)
        await other.place.set_alias(other.key_of(there), alias, None)
        return Done(True, f"{there.name}:{alias} is removed on {other.place.title}")
    artifact = await find_artifact(store, name, type)
    _check_alias(alias)
    active = store.model(PLUGIN).query(aliases_by_version, artifact.key)
    if not any(alias in aliases for aliases in active.values()):
        raise AliasNotFound(alias, artifact.name)
    folder = folder_of(store.root, artifact)
    await change(store, artifact, lambda: promoting.set_alias(folder, alias, None))
    return Done(True, f"{artifact.name}:{alias} is removed")


async def change(store: Store, artifact: Candidate, command: Callable[[], T]) -> T:
    """Carry out a command on an artifact in a thread, and wait until every reader sees what it did."""
    try:
        result = await asyncio.to_thread(command)
    except ArtifactLocked as error:
        raise Unavailable("Artifact store is busy") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not error.errno:
            raise  # an error of ours, which is an OSError for users of the SDK
        raise StorageUnavailable from error
    await store.until_visible(Stream("artifact", artifact.key))
    return result


def _check_alias(alias: str) -> None:
    if not is_legal_alias(alias):
        raise BadInput(f"Invalid value for alias: {shown(alias)!r} cannot be set")
