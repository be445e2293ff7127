"""The public API for plugins, together with `runicorn.columns`: documented, and deprecated with notice.

Nothing else is public. Built-in plugins import from here, too, and from their own package.
"""

from __future__ import annotations

from runicorn.archive import (
    Imported,
    Limits,
    RunImported,
    UnusableArchive,
    check_space,
    import_archive,
    remove_stale_staging,
    staging_directory,
)
from runicorn.artifact_place import ArtifactPlace, PlaceCopies, PlaceState
from runicorn.cli.group import state_dir_option, storage_option, unused_storage_option
from runicorn.cli.json_output import print_json, without_controls
from runicorn.cli.opened_store import OpenedStore, open_store
from runicorn.cli.table import clean, table
from runicorn.config import config_file, configured_root, storage_root, whole_numbers
from runicorn.credentials.address import SECRET_FIELDS, Address, SecretField
from runicorn.credentials.connections import AUTH_METHODS, ConnectionNotFound, SavedConnection, SavedConnections
from runicorn.credentials.references import ExpiredReference, ForeignReference
from runicorn.errors import (
    BadInput,
    Conflict,
    Forbidden,
    InvalidName,
    NotFound,
    ReadModelBehind,
    RunicornError,
    RunNotFound,
    StorageUnavailable,
    TooLarge,
    Unavailable,
    WrongFields,
    shown,
)
from runicorn.events.actor import Actor, Decision
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
from runicorn.events.discovery import (
    EVENTS_FILE,
    MIRRORS,
    RunDirectory,
    find_runs,
    is_artifact_key,
    is_attached,
    is_run_key,
    run_at,
)
from runicorn.events.envelope import Event, InvalidPayload, Payload, decode_data, decode_payload
from runicorn.events.log import FileLog, LocatedEvent, Stream, StreamKind, StreamReplaced
from runicorn.events.observed import RunLost, RunMirrored, RunObserved
from runicorn.events.past import moment_text
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
from runicorn.events.store import recorder_of
from runicorn.experiment_file import METADATA_FILE, ExperimentMetadata, appended_tags, checked_tags
from runicorn.export import ExportedRun, build_report, csv_pieces, html_pieces, markdown_pieces, open_run
from runicorn.export.text import formula_safe
from runicorn.fields import integer, number, text, without_surrogates
from runicorn.files import (
    SIDE_FILE_BYTES,
    LockTimeout,
    as_file,
    dump_json,
    file_lock,
    open_below,
    open_to_read,
    parse_json,
    read_json_object,
    replace_file,
    write_json,
    write_temporary,
)
from runicorn.followed_entries import FollowedEntries
from runicorn.history.entries import FieldChange, HistoryEntry, Who, presentable
from runicorn.history.facts import Facts
from runicorn.history.paging import HistoryWanted, history_wanted
from runicorn.history.positions import EventPositions
from runicorn.history.subject import ChangedSince, NotReversible, Subject, Subjects
from runicorn.history.telling import HistoryPage, Teller, Told, decider, decode_among, history_page
from runicorn.hookspecs import hookimpl
from runicorn.log_lines import set_up_logging
from runicorn.process_identity import ProcessIdentity, has_ended
from runicorn.projection.base import Batch, Preparation, PreparesStreams, Projection, Tables
from runicorn.projection.directories import RootPresence
from runicorn.projection.folded import Claim, FoldedPreparation, FoldedProjection, Part, Parts, claim, latest
from runicorn.projection.meaning import HasMeanings, Meaning
from runicorn.projection.reading import ModelReader
from runicorn.projection.source import ArtifactSource, Source
from runicorn.projection.wire import News
from runicorn.remote_place import InvalidRemote, RemotePlace, parse_remote
from runicorn.run_commands.ids import InvalidRunId, check_run_ids
from runicorn.run_commands.marker import Deletion, prepared_deletions
from runicorn.run_commands.on_store import annotate_run, empty_recycle_bin, purge, restore, said_of, soft_delete
from runicorn.run_commands.purging import remove_leftovers
from runicorn.run_commands.recycling import RunPlace
from runicorn.run_commands.undoing import IRREVERSIBLE_DECISIONS, REVERSIBLE_DECISIONS, take_back_decision
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
    MEDIA_DIRECTORY,
    META_FILE,
    RUNNING,
    STATUS_FILE,
    SUMMARY_FILE,
    is_inside,
    stored_status,
)
from runicorn.run_lookup import LIST_ORDER, NoSuchRun, find_run, run_meant
from runicorn.sdk.environment.remotes import without_credentials
from runicorn.sdk.experiments import ExperimentManager
from runicorn.server.attachment import attachment
from runicorn.server.child_process import EXIT_LOCKED, ChildProcess
from runicorn.server.clients import limited_client
from runicorn.server.etag import conditional, strong_etag, weak_etag
from runicorn.server.file_response import file_response
from runicorn.server.health import Health
from runicorn.server.inert import inert_headers, inert_media_type
from runicorn.server.serving import Serving
from runicorn.server.streaming import Pieces
from runicorn.staleness import stale_after_s
from runicorn.store import Store
from runicorn.user_config import NotSaved, change_json, read_config, set_user_root
from runicorn.version import API_VERSION

__all__ = [
    "API_VERSION",
    "ARTIFACTS_CREATED_FILE",
    "ARTIFACTS_USED_FILE",
    "AUTH_METHODS",
    "DECIDED_EVENTS",
    "DEFAULT_STATUS",
    "DELETED_FILE",
    "ENVIRONMENT_FILE",
    "EVENTS_FILE",
    "EXIT_LOCKED",
    "FAILED",
    "FINISHED",
    "INTERRUPTED",
    "IRREVERSIBLE_DECISIONS",
    "LIST_ORDER",
    "LOGS_FILE",
    "MEDIA_DIRECTORY",
    "METADATA_FILE",
    "META_FILE",
    "METRICS",
    "MIRRORS",
    "REVERSIBLE_DECISIONS",
    "RUNNING",
    "RUN_EVENTS",
    "SECRET_FIELDS",
    "SIDE_FILE_BYTES",
    "STATUS_FILE",
    "SUMMARY_FILE",
    "Actor",
    "Address",
    "ArtifactLogged",
    "ArtifactPlace",
    "ArtifactSource",
    "ArtifactUsed",
    "BadInput",
    "Batch",
    "ChangedSince",
    "ChildProcess",
    "Claim",
    "Conflict",
    "ConnectionNotFound",
    "Decision",
    "Deletion",
    "Event",
    "EventPositions",
    "ExperimentManager",
    "ExperimentMetadata",
    "ExpiredReference",
    "ExportedRun",
    "Facts",
    "FieldChange",
    "FileLog",
    "FoldedPreparation",
    "FoldedProjection",
    "FollowedEntries",
    "Forbidden",
    "ForeignReference",
    "HasMeanings",
    "Health",
    "HistoryEntry",
    "HistoryPage",
    "HistoryWanted",
    "ImageLogged",
    "Imported",
    "InvalidName",
    "InvalidPayload",
    "InvalidRemote",
    "InvalidRunId",
    "Limits",
    "LocatedEvent",
    "LockTimeout",
    "Meaning",
    "ModelReader",
    "News",
    "NoSuchRun",
    "NotFound",
    "NotReversible",
    "NotSaved",
    "OpenedStore",
    "Part",
    "Parts",
    "Payload",
    "Pieces",
    "PlaceCopies",
    "PlaceState",
    "Preparation",
    "PreparesStreams",
    "ProcessIdentity",
    "Projection",
    "ReadModelBehind",
    "RemotePlace",
    "RootPresence",
    "RunArchived",
    "RunConfigured",
    "RunCreated",
    "RunDecision",
    "RunDeleted",
    "RunDescribed",
    "RunDirectory",
    "RunFinished",
    "RunImported",
    "RunLost",
    "RunMirrored",
    "RunNotFound",
    "RunObserved",
    "RunPinned",
    "RunPlace",
    "RunPurged",
    "RunRestored",
    "RunSummarized",
    "RunTagged",
    "RunicornError",
    "SavedConnection",
    "SavedConnections",
    "SecretField",
    "Serving",
    "Source",
    "StorageUnavailable",
    "Store",
    "Stream",
    "StreamKind",
    "StreamReplaced",
    "Subject",
    "Subjects",
    "Tables",
    "Teller",
    "Told",
    "TooLarge",
    "Unavailable",
    "UnusableArchive",
    "Who",
    "WrongFields",
    "annotate_run",
    "append_artifact_events",
    "appended_tags",
    "as_file",
    "attachment",
    "build_report",
    "change_json",
    "check_run_ids",
    "check_space",
    "checked_tags",
    "claim",
    "clean",
    "conditional",
    "config_file",
    "configured_root",
    "csv_pieces",
    "decider",
    "decode_among",
    "decode_data",
    "decode_payload",
    "dump_json",
    "empty_recycle_bin",
    "file_lock",
    "file_response",
    "find_run",
    "find_runs",
    "formula_safe",
    "has_ended",
    "history_page",
    "history_wanted",
    "hookimpl",
    "html_pieces",
    "import_archive",
    "inert_headers",
    "inert_media_type",
    "integer",
    "is_artifact_key",
    "is_attached",
    "is_inside",
    "is_run_key",
    "latest",
    "limited_client",
    "markdown_pieces",
    "moment_text",
    "number",
    "open_below",
    "open_run",
    "open_store",
    "open_to_read",
    "parse_json",
    "parse_remote",
    "prepared_deletions",
    "presentable",
    "print_json",
    "purge",
    "read_artifact_events",
    "read_config",
    "read_json_object",
    "recorder_of",
    "remove_leftovers",
    "remove_stale_staging",
    "replace_file",
    "restore",
    "run_at",
    "run_meant",
    "said_of",
    "set_up_logging",
    "set_user_root",
    "shown",
    "soft_delete",
    "staging_directory",
    "stale_after_s",
    "state_dir_option",
    "storage_option",
    "storage_root",
    "stored_status",
    "strong_etag",
    "table",
    "take_back_decision",
    "text",
    "unused_storage_option",
    "weak_etag",
    "whole_numbers",
    "without_controls",
    "without_credentials",
    "without_surrogates",
    "write_json",
    "write_temporary",
]
