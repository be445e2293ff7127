"""What a record of a version becomes in the tables."""

from __future__ import annotations

import msgspec

from runicorn.plugin import dump_json, number
from runicorn_artifacts.events import VersionRecord
from runicorn_artifacts.json_values import finite

MAX_VERSION = (1 << 62) - 1
"""No version, and no number of bytes, is greater in the tables."""


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of one version alone."""

    created_by_user: str | None
    metadata: msgspec.Raw
    description: str
    tags: list[str]
    manifest_digest: str | None


class VersionRow(msgspec.Struct, frozen=True, array_like=True):
    """What a record becomes in the tables, in the order of their columns."""

    created_at: float
    updated_at: float
    created_by_run: str
    size_bytes: int
    reference_bytes: int
    file_bytes: int
    num_files: int
    num_references: int
    is_damaged: bool
    has_metadata: bool
    details: bytes
    """`Details` as JSON: user metadata may hold integers of any size."""

    @classmethod
    def of(cls, record: VersionRecord) -> VersionRow:
        """From the record in an event."""
        details = {
            "created_by_user": record.created_by_user,
            "metadata": record.metadata,
            "description": record.description,
            "tags": record.tags,
            "manifest_digest": record.manifest_digest,
        }
        return cls(
            number(record.created_at) or 0.0,
            number(record.updated_at) or 0.0,
            record.created_by_run,
            _storable(record.size_bytes),
            _storable(record.reference_bytes),
            _storable(record.file_bytes),
            _storable(record.num_files),
            _storable(record.num_references),
            record.is_damaged,
            record.has_metadata,
            dump_json(finite(details)),
        )


def _storable(value: int) -> int:
    return max(0, min(value, MAX_VERSION))
