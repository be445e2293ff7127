"""Artifacts of another place, shown instead of those in the storage root.

A plugin that reaches another place gives an `ArtifactPlace` to `Serving.artifact_place`, and takes it back when its
artifacts are not to be shown any more. Meanwhile `/api/artifacts` lists, describes and deletes what is there. Saving,
promoting and evaluating go on in the storage root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec


class PlaceCopies(msgspec.Struct, frozen=True):
    """Copies of what a place says about its artifacts and runs, each in a directory that is laid out like a storage root.

    Of artifacts there are `versions.json` and, for each version, `metadata.json`, `manifest.json`, `lifecycle.json` and
    `.deleted`; of runs their JSON files. Contents need not be there.
    """

    artifacts: Path
    runs: Path
    revision: str
    """Another one whenever the copies have changed, and never the same for others."""


class PlaceState(msgspec.Struct, frozen=True):
    """What `GET /api/artifacts/stats` says of a place, beside the numbers of its artifacts."""

    connected: bool
    last_sync: float | None
    """Unix seconds; None before the first one."""
    cached_artifacts: int
    """Versions."""
    cache_size_bytes: int
    remote_size_bytes: int
    """Of all versions, in the place."""
    sync_count: int
    error_count: int


class ArtifactPlace(Protocol):
    """Where the artifacts are that are shown. An artifact's key is its directory below `artifacts`: `artifacts/model/net`.

    Properties are read on the event loop for each request: they answer from memory. Errors are `RunicornError`s. A change
    that has returned is in the copies; one that raises has changed nothing that another call would not complete.
    """

    @property
    def title(self) -> str:
        """Completes `Soft deleted net:v2 on …`."""
        ...

    @property
    def copies(self) -> PlaceCopies:
        """What can be read now. An error if there is nothing."""
        ...

    @property
    def state(self) -> PlaceState:
        """Counters."""
        ...

    async def soft_delete(self, key: str, version: int) -> None:
        """Mark a version as deleted; nothing happens if it is."""
        ...

    async def restore(self, key: str, version: int) -> None:
        """Take back a soft deletion; nothing happens if there is none."""
        ...

    async def purge(self, key: str, version: int) -> int:
        """Remove a version for good, with contents that only it had; the bytes that were freed."""
        ...

    async def set_alias(self, key: str, alias: str, version: int | None) -> None:
        """Let an alias point to a version, or (None) to none."""
        ...
