"""`/api/remote/artifacts/{name}/v{version}/alias` and `/tags`: written to the server."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import post
from litestar.params import FromPath, FromQuery, JSONBody

from runicorn.plugin import Serving
from runicorn_remote.events import of_write
from runicorn_remote.remote import Remote
from runicorn_remote.routes.remote import connected_adapter
from runicorn_remote.smart.changes import set_alias
from runicorn_remote.smart.labels import add_tags, checked_alias, checked_tags, named_version


class AliasRequest(msgspec.Struct, kw_only=True):
    """What `POST …/alias` takes."""

    alias: Any = None
    """A text without white space and `/ \\ : * ? " < > |`."""


class TagsRequest(msgspec.Struct, kw_only=True):
    """What `POST …/tags` takes."""

    tags: Any = None
    """A list of texts."""


class Labelled(msgspec.Struct, frozen=True):
    """What was done."""

    ok: bool
    message: str


@post("/api/remote/artifacts/{artifact_name:str}/{version:str}/alias", status_code=200, operation_id="set_remote_alias")
async def set_remote_alias(
    artifact_name: FromPath[str],
    version: FromPath[str],
    data: JSONBody[AliasRequest],
    serving: Serving,
    type: FromQuery[str | None] = None,
) -> Labelled:
    """Have an alias mean a version (`v3`) on the server."""
    remote = serving.own(Remote)
    adapter = connected_adapter(remote)
    found = await remote.run(named_version, adapter.cache, artifact_name, version, type)
    alias = checked_alias(data.alias)
    await remote.run(set_alias, adapter, found.key, alias, found.number)
    await remote.run(remote.journal.tell, of_write(adapter.source, "alias", found.key, found.number, alias))
    return Labelled(True, f"Set alias '{alias}' → {found}")


@post("/api/remote/artifacts/{artifact_name:str}/{version:str}/tags", status_code=200, operation_id="add_remote_tags")
async def add_remote_tags(
    artifact_name: FromPath[str],
    version: FromPath[str],
    data: JSONBody[TagsRequest],
    serving: Serving,
    type: FromQuery[str | None] = None,
) -> Labelled:
    """Add tags to a version (`v3`) on the server."""
    remote = serving.own(Remote)
    adapter = connected_adapter(remote)
    found = await remote.run(named_version, adapter.cache, artifact_name, version, type)
    tags = checked_tags(data.tags)
    await remote.run(add_tags, adapter, found, tags)
    await remote.run(remote.journal.tell, of_write(adapter.source, "tags", found.key, found.number, *tags))
    return Labelled(True, f"Added tags {tags} to {found}")
