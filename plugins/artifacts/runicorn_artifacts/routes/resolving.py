"""From the parameters of a request to an artifact and its version, in one place for all routes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from litestar.exceptions import NotFoundException

from runicorn.plugin import Store
from runicorn_artifacts import queries
from runicorn_artifacts.errors import ArtifactNotFound, IllegalName, IllegalType, VersionNotFound
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.lookup import ARTIFACTS
from runicorn_artifacts.naming import is_legal, parse_version, type_of_folder
from runicorn_artifacts.queries import Candidate, Version

PLUGIN = "artifacts"


async def find_artifact(store: Store, name: str, type: str | None) -> Candidate:
    """The artifact that a name (and type) means, as its files are now. ArtifactNotFound, IllegalName or IllegalType."""
    model = store.model(PLUGIN)
    known = {candidate.key for candidate in model.query(queries.candidates, name, type)}
    # One that was made a moment ago is not known yet, and may be the one that is meant.
    for key in known | await asyncio.to_thread(_keys_on_disk, store.root, name, type):
        await store.look(key)
    chosen = queries.chosen(model.query(queries.candidates, name, type))
    if chosen is not None:
        return chosen
    if type is not None and not is_legal(type):
        raise IllegalType(type)
    if not is_legal(name):
        raise IllegalName(name)
    raise ArtifactNotFound(name, type)


def _keys_on_disk(root: Path, name: str, type: str | None) -> set[str]:
    """The folders that a name may mean: one `stat` for each type."""
    if not is_legal(name):
        return set()
    try:
        folders = os.listdir(root / ARTIFACTS)
    except OSError:
        return set()
    wanted = [f for f in folders if not f.startswith(".") and (type is None or type_of_folder(f) == type)]
    return {f"{ARTIFACTS}/{f}/{name}" for f in wanted if os.path.isdir(f"{root}/{ARTIFACTS}/{f}/{name}")}


async def find_version(store: Store, name: str, segment: str, type: str | None) -> tuple[Candidate, Version]:
    """The artifact, and the version in a path segment such as `v3`. VersionNotFound if it has no such version."""
    number = version_number(segment)
    artifact = await find_artifact(store, name, type)
    return artifact, version_of(store, artifact, number)


def version_of(store: Store, artifact: Candidate, number: int) -> Version:
    """A version of an artifact; VersionNotFound if there is none."""
    found = store.model(PLUGIN).query(queries.version, artifact.key, number) if 0 < number < 1 << 62 else None
    if found is None:
        raise VersionNotFound(artifact.name, number)
    return found


def version_number(segment: str) -> int:
    """The number in a path segment; IllegalVersion if there is another text behind the `v`."""
    if not segment.startswith("v"):
        raise NotFoundException  # not a path of ours
    return parse_version(segment[1:])


def folder_of(root: Path, artifact: Candidate) -> ArtifactFolder:
    """Where the artifact is on disk."""
    return ArtifactFolder(root / artifact.key, artifact.type, artifact.name)
