"""The public API for plugins, together with `runicorn.columns`: documented, and deprecated with notice.

Nothing else is public. Built-in plugins import from here, too, and from their own package.
"""

from __future__ import annotations

from runicorn.config import config_file, configured_root, storage_root
from runicorn.errors import (
    BadInput,
    Conflict,
    Forbidden,
    InvalidName,
    NotFound,
    RunicornError,
    RunNotFound,
    StorageUnavailable,
    TooLarge,
    Unavailable,
    shown,
)
from runicorn.events.artifact import append_artifact_events, read_artifact_events
from runicorn.events.decided import (
    DECIDED_EVENTS,
    RunArchived,
    RunDecision,
    RunDeleted,
    RunDescribed,
    RunPinned,
    RunPurged,
    RunRestored,
    RunTagged,
)
from runicorn.events.discovery import EVENTS_FILE, RunDirectory, find_runs, is_artifact_key, is_run_key, run_at
from runicorn.events.envelope import Event, InvalidPayload, Payload, decode_data, decode_payload
from runicorn.events.log import LocatedEvent, Stream, StreamKind
from runicorn.events.observed import RunObserved
from runicorn.events.run import (
    METRICS,
    RUN_EVENTS,
    ArtifactLogged,
    ArtifactUsed,
    ImageLogged,
    RunConfigured,
    RunCreated,
    RunFinished,
    RunSummarized,
)
from runicorn.experiment_file import METADATA_FILE
from runicorn.fields import integer, number, text, without_surrogates
from runicorn.files import (
    LockTimeout,
    dump_json,
    file_lock,
    open_to_read,
    parse_json,
    read_json_object,
    replace_file,
    write_json,
)
from runicorn.hookspecs import hookimpl
from runicorn.process_identity import ProcessIdentity, has_ended
from runicorn.projection.base import Batch, Projection, Tables
from runicorn.projection.folded import Claim, FoldedProjection, Part, Parts, claim, latest
from runicorn.projection.reading import ModelReader
from runicorn.projection.source import ArtifactSource, Source
from runicorn.run_commands.ids import InvalidRunId, check_run_ids
from runicorn.run_commands.marker import Deletion, prepared_deletions
from runicorn.run_commands.on_store import empty_recycle_bin, purge, restore, soft_delete
from runicorn.run_files import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DEFAULT_STATUS,
    DELETED_FILE,
    ENVIRONMENT_FILE,
    FAILED,
    FINISHED,
    INTERRUPTED,
    LOGS_FILE,
    META_FILE,
    RUNNING,
    STATUS_FILE,
    SUMMARY_FILE,
    is_inside,
    stored_status,
)
from runicorn.run_lookup import LIST_ORDER, find_run
from runicorn.server.clients import limited_client
from runicorn.server.etag import conditional, strong_etag, weak_etag
from runicorn.server.health import Health
from runicorn.server.serving import Serving
from runicorn.store import Store
from runicorn.user_config import NotSaved, change_json, set_user_root
from runicorn.version import API_VERSION

__all__ = [
    "API_VERSION",
    "ARTIFACTS_CREATED_FILE",
    "ARTIFACTS_USED_FILE",
    "DECIDED_EVENTS",
    "DEFAULT_STATUS",
    "DELETED_FILE",
    "ENVIRONMENT_FILE",
    "EVENTS_FILE",
    "FAILED",
    "FINISHED",
    "INTERRUPTED",
    "LIST_ORDER",
    "LOGS_FILE",
    "METADATA_FILE",
    "META_FILE",
    "METRICS",
    "RUNNING",
    "RUN_EVENTS",
    "STATUS_FILE",
    "SUMMARY_FILE",
    "ArtifactLogged",
    "ArtifactSource",
    "ArtifactUsed",
    "BadInput",
    "Batch",
    "Claim",
    "Conflict",
    "Deletion",
    "Event",
    "FoldedProjection",
    "Forbidden",
    "Health",
    "ImageLogged",
    "InvalidName",
    "InvalidPayload",
    "InvalidRunId",
    "LocatedEvent",
    "LockTimeout",
    "ModelReader",
    "NotFound",
    "NotSaved",
    "Part",
    "Parts",
    "Payload",
    "ProcessIdentity",
    "Projection",
    "RunArchived",
    "RunConfigured",
    "RunCreated",
    "RunDecision",
    "RunDeleted",
    "RunDescribed",
    "RunDirectory",
    "RunFinished",
    "RunNotFound",
    "RunObserved",
    "RunPinned",
    "RunPurged",
    "RunRestored",
    "RunSummarized",
    "RunTagged",
    "RunicornError",
    "Serving",
    "Source",
    "StorageUnavailable",
    "Store",
    "Stream",
    "StreamKind",
    "Tables",
    "TooLarge",
    "Unavailable",
    "append_artifact_events",
    "change_json",
    "check_run_ids",
    "claim",
    "conditional",
    "config_file",
    "configured_root",
    "decode_data",
    "decode_payload",
    "dump_json",
    "empty_recycle_bin",
    "file_lock",
    "find_run",
    "find_runs",
    "has_ended",
    "hookimpl",
    "integer",
    "is_artifact_key",
    "is_inside",
    "is_run_key",
    "latest",
    "limited_client",
    "number",
    "open_to_read",
    "parse_json",
    "prepared_deletions",
    "purge",
    "read_artifact_events",
    "read_json_object",
    "replace_file",
    "restore",
    "run_at",
    "set_user_root",
    "shown",
    "soft_delete",
    "storage_root",
    "stored_status",
    "strong_etag",
    "text",
    "weak_etag",
    "without_surrogates",
    "write_json",
]
