"""`GET /api/artifacts/{name}/diff`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import BadInput, Serving, Store
from runicorn_artifacts import queries
from runicorn_artifacts.comparing import VersionDiff, compare
from runicorn_artifacts.naming import LATEST, version_meant
from runicorn_artifacts.routes.elsewhere import Elsewhere, elsewhere
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact, folder_of


@get("/api/artifacts/{name:str}/diff", operation_id="artifact_diff")
async def artifact_diff(
    name: FromPath[str],
    store: Store,
    serving: Serving,
    before: Annotated[str | None, QueryParameter(name="from")] = None,
    after: Annotated[str, QueryParameter(name="to")] = LATEST,
    type: FromQuery[str | None] = None,
) -> VersionDiff:
    """What changed from one version to another: files, references and metadata.

    `from` and `to` are versions (`v3` or `3`) or aliases; by default `to` is the latest version, `from` the one before it.
    """
    other = elsewhere(serving)
    if other is not None:
        return await asyncio.to_thread(_diff_elsewhere, other, name, type, before, after)
    artifact = await find_artifact(store, name, type)
    rows, aliases = await store.model(PLUGIN).run(queries.versions_and_aliases, artifact.key)
    pointing = {alias: version for version, names in aliases.items() for alias in names}
    known = _Known.of(artifact.name, {row.version: row.is_deleted for row in rows}, pointing)
    return await asyncio.to_thread(compare, folder_of(store.root, artifact), *known.pair(before, after))


def _diff_elsewhere(other: Elsewhere, name: str, type: str | None, before: str | None, after: str) -> VersionDiff:
    folder = other.find(name, type)
    known = _Known.of(folder.name, {number: folder.is_deleted(number) for number in folder.versions}, folder.aliases)
    return compare(folder, *known.pair(before, after))


class _Known(msgspec.Struct, frozen=True):
    """What `from` and `to` may mean."""

    name: str
    versions: dict[int, bool]
    """Ascending; whether each is deleted."""
    aliases: dict[str, int]

    @classmethod
    def of(cls, name: str, versions: dict[int, bool], aliases: dict[str, int]) -> _Known:
        """With the aliases in the order in which they are told: `latest`, then the others by alphabet."""
        return cls(name, versions, dict(sorted(aliases.items(), key=lambda item: (item[0] != LATEST, item[0]))))

    def has(self, version: int, /) -> bool:
        """See `Versioned`."""
        return version in self.versions

    def pair(self, before: str | None, after: str) -> tuple[int, int]:
        """The two versions to compare."""
        second = self._number(after)
        return (self._earlier(second) if before is None else self._number(before)), second

    def _number(self, spec: str) -> int:
        return version_meant(self, f"v{spec}" if spec.isdecimal() else spec)

    def _earlier(self, version: int) -> int:
        earlier = [number for number, is_deleted in self.versions.items() if number < version and not is_deleted]
        if not earlier:
            raise BadInput(f"Missing query parameter: from (there is no version before v{version})")
        return earlier[-1]
