"""The artifacts of another place, as the copies say that a plugin keeps of their metadata.

The rules of looking up are those of the storage root, and so are the answers. Contents are not here. Methods that are not
coroutines are for threads: they read files.
"""

from __future__ import annotations

import os
from functools import cache, cached_property

import msgspec

from runicorn.plugin import ArtifactPlace, NotFound, PlaceCopies, Serving, shown
from runicorn_artifacts import reach
from runicorn_artifacts.answers import (
    StatisticsElsewhere,
    VersionDetail,
    VersionFiles,
    VersionItem,
    version_detail,
    version_files,
    version_item,
)
from runicorn_artifacts.errors import (
    ArtifactNotFound,
    IllegalName,
    IllegalType,
    MetadataNotFound,
)
from runicorn_artifacts.folder import METADATA_FILE, ArtifactFolder
from runicorn_artifacts.lineage import LineageGraph, VersionKey, trace
from runicorn_artifacts.lineage_tracker import FolderFacts
from runicorn_artifacts.listing import artifact_list
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.naming import existing_version, is_legal
from runicorn_artifacts.projections.version_row import VersionRow
from runicorn_artifacts.queries import ArtifactItem, Version
from runicorn_artifacts.reach import Reach
from runicorn_artifacts.recipes import Provenance, provenance
from runicorn_artifacts.routes.resolving import version_number
from runicorn_artifacts.statistics import storage_statistics
from runicorn_artifacts.version_facts import VersionFacts, facts_in


class ContentsElsewhere(NotFound):
    """Only what describes a version is here."""

    def __init__(self, name: str, version: int, title: str) -> None:
        super().__init__(f"The files of {shown(name)}:v{version} are on {title}, not here")


class Elsewhere:
    """The artifacts of one place, at one revision of its copies: what was worked out once is kept."""

    def __init__(self, place: ArtifactPlace, copies: PlaceCopies) -> None:
        self.place = place
        self.copies = copies
        self.lookup = Lookup(copies.artifacts, has_contents=False)
        self._listed = cache(self._list)
        self._counted = cache(self._count)

    def artifacts(self, type: str | None, include_deleted: bool) -> list[ArtifactItem]:
        """Every artifact (of a type), the one that was changed last first."""
        return [item for item in self._listed(include_deleted) if type is None or item.type == type]

    def statistics(self, include_deleted: bool) -> StatisticsElsewhere:
        """How much there is, as far as the copies say; the pool of contents is not known."""
        state = msgspec.to_builtins(self.place.state)
        return msgspec.convert({**self._counted(include_deleted), **state}, StatisticsElsewhere)

    def versions(self, name: str, type: str | None, include_deleted: bool) -> list[VersionItem]:
        """The versions of an artifact, ascending."""
        folder = self.find(name, type)
        rows = [row for number in folder.versions if (row := _row(folder, number)) is not None]
        return [
            version_item(row, folder.status(row.version), folder.active_aliases(row.version))
            for row in rows
            if include_deleted or not row.is_deleted
        ]

    def version(self, name: str, segment: str, type: str | None) -> VersionDetail:
        """One version; a deleted one, too."""
        folder, number = self.find_version(name, segment, type)
        row = _row(folder, number)
        if row is None or not os.path.lexists(folder.version_path(number) / METADATA_FILE):
            raise MetadataNotFound(folder.name, number)
        return version_detail(folder.name, folder.type, row, folder.status(number), folder.active_aliases(number))

    def files(self, name: str, segment: str, type: str | None) -> VersionFiles:
        """What the manifest of a version lists."""
        return version_files(*self.find_version(name, segment, type), is_remote=True)

    def without_contents(self, name: str, segment: str, type: str | None) -> ContentsElsewhere:
        """The answer to whoever asks for contents of a version; raises what is wrong with its name or number."""
        folder, number = self.find_version(name, segment, type)
        return ContentsElsewhere(folder.name, number, self.place.title)

    def lineage(self, name: str, segment: str, type: str | None, max_depth: int) -> LineageGraph:
        """What a version came from, and what was made of it there."""
        return trace(self._facts, self._key(name, segment, type), max_depth)

    def impact(
        self, name: str, segment: str, type: str | None
    ) -> tuple[Reach, dict[str, tuple[str | None, str | None]]]:
        """Everything that was made of a version there; with project and name of the runs, by id."""
        key = self._key(name, segment, type)
        found = _known(reach.impact(self._facts, key), key)
        nodes = [self._facts.run(run.key) for run in found.runs]
        return found, {node.run_id: (node.project, node.name) for node in nodes}

    def provenance(self, name: str, segment: str, type: str | None) -> Provenance:
        """The recipe of a version, from the copies of what its runs noted."""
        key = self._key(name, segment, type)
        return provenance(self.copies.runs, _known(reach.ancestry(self._facts, key), key))

    def facts_of(self, type: str, name: str, version: int) -> VersionFacts:
        """What runs of the place show of a version."""
        return facts_in(self.lookup, type, name, version)

    def find(self, name: str, type: str | None) -> ArtifactFolder:
        """The artifact that a name (and type) means. ArtifactNotFound, IllegalName or IllegalType."""
        try:
            return self.lookup.find(name, type)
        except ArtifactNotFound:
            if type is not None and not is_legal(type):
                raise IllegalType(type) from None
            if not is_legal(name):
                raise IllegalName(name) from None
            raise

    def find_version(self, name: str, segment: str, type: str | None) -> tuple[ArtifactFolder, int]:
        """The artifact, and the version in a path segment such as `v3`. VersionNotFound if it has no such version."""
        number = version_number(segment)
        folder = self.find(name, type)
        return folder, existing_version(folder, number)

    def key_of(self, folder: ArtifactFolder) -> str:
        """How the place calls an artifact."""
        return f"{ARTIFACTS}/{folder.path.relative_to(self.lookup.base).as_posix()}"

    @cached_property
    def _facts(self) -> FolderFacts:
        return FolderFacts(self.copies.runs, self.lookup)

    def _key(self, name: str, segment: str, type: str | None) -> VersionKey:
        folder, number = self.find_version(name, segment, type)
        return VersionKey(folder.type, folder.name, number)

    def _list(self, include_deleted: bool) -> list[ArtifactItem]:
        return [ArtifactItem(**item) for item in artifact_list(self.lookup, None, include_deleted)]

    def _count(self, include_deleted: bool) -> dict[str, object]:
        return storage_statistics(self.lookup.artifacts(), 0, False, include_deleted)


class _Current:
    """What a server process shows now."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._last: Elsewhere | None = None

    def get(self) -> Elsewhere | None:
        place = self._serving.artifact_place
        if place is None:
            self._last = None
            return None
        copies = place.copies
        last = self._last
        if last is None or last.place is not place or last.copies != copies:
            last = self._last = Elsewhere(place, copies)
        return last


def elsewhere(serving: Serving) -> Elsewhere | None:
    """The artifacts that are to be shown instead of those in the storage root; None if those are. On the event loop."""
    return serving.own(_Current).get()


def _row(folder: ArtifactFolder, number: int) -> Version | None:
    """What the read model would say of a version; None if it has gone."""
    record = folder.record(number)
    if record is None:
        return None
    row, lifecycle = VersionRow.of(record), folder.lifecycle(number)
    return Version(
        version=number,
        created_at=row.created_at,
        updated_at=row.updated_at,
        created_by_run=row.created_by_run,
        size_bytes=row.size_bytes,
        num_files=row.num_files,
        num_references=row.num_references,
        is_damaged=row.is_damaged,
        has_metadata=row.has_metadata,
        is_deleted=folder.is_deleted(number),
        stage=lifecycle.stage,
        lived_at=lifecycle.updated_at,
        details=row.details,
    )


def _known(found: Reach | None, key: VersionKey) -> Reach:
    if found is None:
        raise MetadataNotFound(key.name, key.version)
    return found
