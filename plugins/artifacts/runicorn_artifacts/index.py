"""`versions.json`: which versions an artifact has, and which aliases point to them.

0.4.0 reads this file and fails on items with keys that it does not know, so there are exactly seven. Where a version has
its folder, the folder is the truth about it; the index alone is the truth about aliases.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import msgspec

from runicorn.plugin import as_file, integer, number, parse_json, text
from runicorn_artifacts.json_values import Int64
from runicorn_artifacts.naming import LATEST

_FROM, _UNTIL = 1e-4, 1e16
"""Between them numbers are written alike by all encoders, without an exponent."""


@dataclass
class ArtifactVersionInfo:
    """What lists show of a version."""

    version: Int64
    created_at: float = 0.0
    created_by_run: str = ""
    size_bytes: Int64 = 0
    num_files: Int64 = 0
    status: str = "ready"
    aliases: list[str] = field(default_factory=list[str])

    def to_dict(self) -> dict[str, Any]:
        """As an item of `versions.json`."""
        return {
            "version": self.version,
            "created_at": self.created_at,
            "created_by_run": self.created_by_run,
            "size_bytes": self.size_bytes,
            "num_files": self.num_files,
            "status": str(self.status),
            "aliases": list(self.aliases),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From an item of `versions.json`, or the content of a `metadata.json`."""
        aliases = data.get("aliases")
        return cls(
            integer(data.get("version")) or 0,
            number(data.get("created_at")) or 0.0,
            text(data.get("created_by_run")) or "",
            integer(data.get("size_bytes")) or 0,
            integer(data.get("num_files")) or 0,
            "deleted" if data.get("status") == "deleted" else "ready",
            [alias for alias in cast(list[object], aliases) if isinstance(alias, str)]
            if isinstance(aliases, list)
            else [],
        )


@dataclass
class ArtifactIndex:
    """The index of one artifact."""

    artifact_name: str
    artifact_type: str
    versions: list[ArtifactVersionInfo] = field(default_factory=list[ArtifactVersionInfo])
    aliases: dict[str, Int64] = field(default_factory=dict[str, int])
    created_at: float = 0.0
    updated_at: float = 0.0
    next_version: Int64 | None = None
    """The number of the next save; None in files of 0.4.0."""

    def to_dict(self) -> dict[str, Any]:
        """As `versions.json` has it, in its order."""
        return {
            "artifact_name": self.artifact_name,
            "artifact_type": self.artifact_type,
            "versions": [item.to_dict() for item in self.versions],
            "aliases": dict(self.aliases),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "next_version": self.next_version,
        }

    def to_bytes(self) -> bytes:
        """The content of `versions.json`, which is what `as_file` makes of `to_dict`."""
        times = [self.created_at, self.updated_at, *(item.created_at for item in self.versions)]
        if all(_FROM <= ts < _UNTIL or ts == 0.0 for ts in times):
            return msgspec.json.format(msgspec.json.encode(self), indent=2)
        return as_file(self.to_dict())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """From the content of `versions.json`; None if that is no object.

        An index of thousands of versions is read at every save: one in which nothing is wrong takes the short way.
        """
        try:
            index = msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            try:
                content = parse_json(data)
            except ValueError:
                return None
            return cls.from_dict(cast(Mapping[str, Any], content)) if isinstance(content, dict) else None
        numbers = [item.version for item in index.versions]
        if numbers and (numbers[0] < 1 or any(map(operator.ge, numbers, numbers[1:]))):
            return cls.from_dict(index.to_dict())
        for item in index.versions:
            if item.status not in ("ready", "deleted"):
                item.status = "ready"
        return index

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of `versions.json`; what cannot be used counts as absent."""
        listed = data.get("versions")
        items = cast(list[object], listed) if isinstance(listed, list) else []
        found = [
            ArtifactVersionInfo.from_dict(cast(Mapping[str, Any], item)) for item in items if isinstance(item, dict)
        ]
        by_number = {item.version: item for item in found if item.version > 0}
        stored = data.get("aliases")
        aliases = cast(Mapping[str, object], stored) if isinstance(stored, dict) else {}
        return cls(
            text(data.get("artifact_name")) or "",
            text(data.get("artifact_type")) or "",
            [by_number[version] for version in sorted(by_number)],
            {text(alias) or "": target for alias, value in aliases.items() if (target := integer(value)) is not None},
            number(data.get("created_at")) or 0.0,
            number(data.get("updated_at")) or 0.0,
            integer(data.get("next_version")),
        )

    @property
    def highest(self) -> int:
        """The highest number that the index knows to be taken; 0 if there is none."""
        last = self.versions[-1].version if self.versions else 0
        return max(last, *self.aliases.values(), (self.next_version or 1) - 1, 0)

    def item(self, version: int) -> ArtifactVersionInfo | None:
        """The item of a version."""
        return next((item for item in self.versions if item.version == version), None)

    def put(self, item: ArtifactVersionInfo) -> None:
        """Add the item of a new version, whose number is the highest."""
        self.versions.append(item)

    def remove(self, version: int) -> list[str]:
        """Forget a version; the aliases that pointed to it."""
        self.versions = [item for item in self.versions if item.version != version]
        gone = [alias for alias, target in self.aliases.items() if target == version]
        for alias in gone:
            del self.aliases[alias]
        return [alias for alias in gone if alias != LATEST]

    def settle(self) -> None:
        """Make `latest`, and the aliases of each item, say what follows from the rest."""
        latest = next((item.version for item in reversed(self.versions) if item.status != "deleted"), None)
        if latest is None:
            self.aliases.pop(LATEST, None)
        else:
            self.aliases[LATEST] = latest
        held: defaultdict[int, list[str]] = defaultdict(list)
        for alias, target in self.aliases.items():
            held[target].append(alias)
        for item in self.versions:
            item.aliases = held.get(item.version, [])
