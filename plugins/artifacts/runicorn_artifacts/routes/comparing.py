"""`GET /api/artifacts/{name}/diff`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import BadInput, Store, shown
from runicorn_artifacts import queries
from runicorn_artifacts.comparing import VersionDiff, compare
from runicorn_artifacts.errors import AliasNotFound, NoVersions
from runicorn_artifacts.naming import LATEST, parse_version, version_spec
from runicorn_artifacts.queries import Candidate
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, folder_of, version_of


@get("/api/artifacts/{name:str}/diff", operation_id="artifact_diff")
async def artifact_diff(
    name: FromPath[str],
    store: Store,
    before: Annotated[str | None, QueryParameter(name="from")] = None,
    after: Annotated[str, QueryParameter(name="to")] = LATEST,
    type: FromQuery[str | None] = None,
) -> VersionDiff:
    """What changed from one version to another: files, references and metadata.

    `from` and `to` are versions (`v3` or `3`) or aliases; by default `to` is the latest version, `from` the one before it.
    """
    artifact = await find_artifact(store, name, type)
    second = _number(store, artifact, after)
    first = _before(store, artifact, second) if before is None else _number(store, artifact, before)
    return await asyncio.to_thread(compare, folder_of(store.root, artifact), first, second)


def _number(store: Store, artifact: Candidate, spec: str) -> int:
    number = version_spec(spec)
    if number is None and spec.isdecimal():
        number = parse_version(spec)
    if number is not None:
        return version_of(store, artifact, number).version
    aliases = store.model(PLUGIN).query(queries.aliases_by_version, artifact.key)
    for version, names in aliases.items():
        if spec in names:
            return version
    if spec == LATEST:
        raise NoVersions(artifact.name)
    raise AliasNotFound(f"Alias not found: {shown(spec)} for artifact {artifact.name}")


def _before(store: Store, artifact: Candidate, version: int) -> int:
    rows = store.model(PLUGIN).query(queries.versions, artifact.key)
    earlier = [row.version for row in rows if row.version < version and not row.is_deleted]
    if not earlier:
        raise BadInput(f"Missing query parameter: from (there is no version before v{version})")
    return earlier[-1]
