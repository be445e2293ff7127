"""What a run is, field by field: how the files of 0.4.0 and our own events are read, each field coerced alone.

One damaged value never hides another: what cannot be used falls back to None, and the run is still listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DEFAULT_STATUS,
    DELETED_FILE,
    META_FILE,
    STATUS_FILE,
    SUMMARY_FILE,
    integer,
    number,
    stored_status,
    text,
)

OBSERVED_FILES = frozenset(
    {META_FILE, STATUS_FILE, SUMMARY_FILE, DELETED_FILE, ARTIFACTS_CREATED_FILE, ARTIFACTS_USED_FILE}
)
DIRECTORY = ""
"""In place of a file's name: the run directory itself."""

Content = Mapping[str, Any]


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where, when and by which process the run was made."""

    project: str | None = None
    name: str | None = None
    created_at: float | None = None
    python: str | None = None
    platform: str | None = None
    hostname: str | None = None
    pid: int | None = None
    pid_started_at: float | None = None
    boot_id: str | None = None
    pid_start_ticks: int | None = None
    pid_ns: int | None = None

    @classmethod
    def read(cls, content: Content) -> Meta:
        """From the content of `meta.json`, or the payload of `run.created`."""
        return cls(
            project=text(content.get("project")) or None,
            name=text(content.get("name")) or None,
            created_at=number(content.get("created_at")),
            python=text(content.get("python")),
            platform=text(content.get("platform")),
            hostname=text(content.get("hostname")),
            pid=integer(content.get("pid")),
            pid_started_at=number(content.get("pid_started_at")),
            boot_id=text(content.get("boot_id")),
            pid_start_ticks=integer(content.get("pid_start_ticks")),
            pid_ns=integer(content.get("pid_ns")),
        )


class RunStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the run is going, and how it ended. Any string is a legal status."""

    status: str = DEFAULT_STATUS
    started_at: float | None = None
    ended_at: float | None = None
    exit_reason: str | None = None

    @classmethod
    def read(cls, content: Content) -> RunStatus:
        """From the content of `status.json`."""
        return cls(
            status=stored_status(content.get("status")),
            started_at=number(content.get("started_at")),
            ended_at=number(content.get("ended_at")),
            exit_reason=text(content.get("exit_reason")),
        )

    def says_the_same_as(self, other: RunStatus) -> bool:
        """Whether two records agree on what lists and liveness show; the SDK's own start time may differ slightly."""
        return (self.status, self.ended_at, self.exit_reason) == (other.status, other.ended_at, other.exit_reason)


class Best(msgspec.Struct, frozen=True):
    """The best value of the primary metric."""

    value: float | None
    name: str | None
    step: int | None
    mode: str | None

    @classmethod
    def read(cls, summary: Content) -> Best:
        """From the summary; numeric strings and booleans count as numbers."""
        step = summary.get("best_metric_step")
        value = lenient_number(step)
        return cls(
            value=lenient_number(summary.get("best_metric_value")),
            name=text(summary.get("best_metric_name")),
            step=integer(step) if isinstance(step, int) else None if value is None else integer(int(value)),
            mode=text(summary.get("best_metric_mode")),
        )


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """Project, name and time of creation that `.experiments_metadata.json` shows for a run, whatever its directory says."""

    project: str | None = None
    name: str | None = None
    created_at: float | None = None


class Entry(msgspec.Struct, frozen=True):
    """What `.experiments_metadata.json` says about a run: what people decided, and under which names it lists the run."""

    tags: list[str] = []
    description: str | None = None
    archived: bool = False
    pinned: bool = False
    label: Label | None = None
    updated_at: float | None = None

    @classmethod
    def read(cls, content: Content) -> Entry:
        """From one entry of the file."""
        return cls(
            tags=read_tags(content.get("tags")),
            description=text(content.get("description")),
            archived=content.get("archived") is True,
            pinned=content.get("pinned") is True,
            label=Label(text(content.get("project")), text(content.get("name")), number(content.get("created_at"))),
            updated_at=number(content.get("updated_at")),
        )


class ArtifactList(msgspec.Struct, frozen=True):
    """The well-formed entries of `artifacts_created.json` or `artifacts_used.json`."""

    count: int = 0
    digest: bytes = b""
    """Tells lists apart: of all that read models take from the entries, in their order; 8 bytes, none if there is none."""

    @classmethod
    def read(cls, content: Content) -> ArtifactList:
        """From the content of the file; malformed entries are left out."""
        listed = content.get("artifacts")
        found = map(_artifact, cast(list[object], listed)) if isinstance(listed, list) else ()
        entries = [entry for entry in found if entry is not None]
        if not entries:
            return cls()
        return cls(len(entries), hashlib.blake2b(msgspec.msgpack.encode(entries), digest_size=8).digest())


def read_tags(value: object) -> list[str]:
    """The texts in a list of tags, each once."""
    found = map(text, cast(list[object], value)) if isinstance(value, list) else ()
    return list(dict.fromkeys(tag for tag in found if tag is not None))


def lenient_number(value: object) -> float | None:
    """Like `number`, but booleans are 1.0 and 0.0, and numeric strings count."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return number(value)


def _artifact(entry: object) -> tuple[object, ...] | None:
    """The fields of an entry that count; None if it is malformed."""
    if not isinstance(entry, dict):
        return None
    fields = cast(dict[str, object], entry)
    identity = text(fields.get("type")), text(fields.get("name")), integer(fields.get("version"))
    if None in identity:
        return None
    return *identity, integer(fields.get("size_bytes")), number(fields.get("created_at")), number(fields.get("used_at"))
