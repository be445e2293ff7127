"""What each stream says about a run, field by field, and which of several claims counts (see `FoldedProjection`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import apsw
import msgspec

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DECIDED_EVENTS,
    DELETED_FILE,
    META_FILE,
    METADATA_FILE,
    RUNNING,
    STATUS_FILE,
    SUMMARY_FILE,
    Batch,
    Claim,
    Deletion,
    Part,
    Parts,
    RunArchived,
    RunConfigured,
    RunCreated,
    RunDecision,
    RunDeleted,
    RunDescribed,
    RunFinished,
    RunLost,
    RunMirrored,
    RunObserved,
    RunPinned,
    RunPurged,
    RunRestored,
    RunSummarized,
    RunTagged,
    claim,
    dump_json,
    is_run_key,
    latest,
    number,
    parse_json,
    text,
)
from runicorn_runs.events import RunVanished
from runicorn_runs.facts import (
    DIRECTORY,
    ArtifactList,
    Entry,
    Label,
    Meta,
    RunStatus,
    read_tags,
)


class RunPart(Part, omit_defaults=True):
    """What one stream says about one run."""

    is_own_stream: bool = False
    """True in the part of the run's own stream: the run exists as long as this stream does."""
    present: Claim[bool] | None = None
    directory: Claim[float | None] | None = None
    """Modification time of the directory, for runs without `created_at`."""
    meta: Claim[Meta] | None = None
    status: Claim[RunStatus] | None = None
    summary: Claim[bytes] | None = None
    """As JSON text: a summary may hold integers of any size, and NaN."""
    deleted: Claim[Deletion | None] | None = None
    created: Claim[ArtifactList] | None = None
    used: Claim[ArtifactList] | None = None
    config: Claim[bytes] | None = None
    """As JSON text, like the summary."""
    tags: Claim[list[str]] | None = None
    description: Claim[str | None] | None = None
    archived: Claim[bool] | None = None
    pinned: Claim[bool] | None = None
    annotated: Claim[float | None] | None = None
    label: Claim[Label | None] | None = None
    source: Claim[str] | None = None
    lost: Claim[RunStatus] | None = None
    """The run was found dead after all that `status` says; who finds it knows its end, not its start."""


class RunFacts(msgspec.Struct, frozen=True):
    """What all streams together say about one run. `*_ts`: since when, for comparing with files."""

    exists: bool
    directory: Claim[float | None] | None
    meta: Claim[Meta] | None
    status: Claim[RunStatus] | None
    summary: Claim[bytes] | None
    deleted: Claim[Deletion | None] | None
    created: Claim[ArtifactList] | None
    used: Claim[ArtifactList] | None
    present: Claim[bool] | None
    config: Claim[bytes] | None
    tags: Claim[list[str]] | None
    description: Claim[str | None] | None
    archived: Claim[bool] | None
    pinned: Claim[bool] | None
    annotated: Claim[float | None] | None
    label: Claim[Label | None] | None
    source: Claim[str] | None


def merged(parts: Sequence[tuple[str, RunPart]]) -> RunFacts:
    """The facts of a run: for every field the claim with the greatest (time, stream name)."""
    if len(parts) == 1:  # as for most runs
        return _facts_of_one(parts[0][1])
    present = latest((stream, part.present) for stream, part in parts)
    return RunFacts(
        exists=any(part.is_own_stream for _, part in parts) if present is None else present.value,
        present=present,
        directory=latest((stream, part.directory) for stream, part in parts),
        meta=latest((stream, part.meta) for stream, part in parts),
        status=_status(parts),
        summary=latest((stream, part.summary) for stream, part in parts),
        deleted=latest((stream, part.deleted) for stream, part in parts),
        created=latest((stream, part.created) for stream, part in parts),
        used=latest((stream, part.used) for stream, part in parts),
        config=latest((stream, part.config) for stream, part in parts),
        tags=latest((stream, part.tags) for stream, part in parts),
        description=latest((stream, part.description) for stream, part in parts),
        archived=latest((stream, part.archived) for stream, part in parts),
        pinned=latest((stream, part.pinned) for stream, part in parts),
        annotated=latest((stream, part.annotated) for stream, part in parts),
        label=latest((stream, part.label) for stream, part in parts),
        source=latest((stream, part.source) for stream, part in parts),
    )


def _facts_of_one(part: RunPart) -> RunFacts:
    return RunFacts(
        exists=part.is_own_stream if part.present is None else part.present.value,
        present=part.present,
        directory=part.directory,
        meta=part.meta,
        status=part.status if part.lost is None else _status([("", part)]),
        summary=part.summary,
        deleted=part.deleted,
        created=part.created,
        used=part.used,
        config=part.config,
        tags=part.tags,
        description=part.description,
        archived=part.archived,
        pinned=part.pinned,
        annotated=part.annotated,
        label=part.label,
        source=part.source,
    )


def _status(parts: Sequence[tuple[str, RunPart]]) -> Claim[RunStatus] | None:
    """The newest claim; a finding that the run is dead leaves the start as the newest record of the run itself has it."""
    newest = latest((stream, part.lost or part.status) for stream, part in parts)
    recorded = latest((stream, part.status) for stream, part in parts)
    if newest is None or recorded is None or newest is recorded:
        return newest
    return Claim(newest.ts, msgspec.structs.replace(newest.value, started_at=recorded.value.started_at))


def facts_of(db: apsw.Connection, key: str) -> RunFacts | None:
    """What the read model knows of a run, from its parts; None if no stream speaks of it."""
    rows = db.execute(_PARTS, (key,)).fetchall()
    parts = [(str(name), _decode_part(cast(bytes, state))) for name, state in rows]
    return merged(parts) if parts else None


_PARTS = (
    "SELECT s.name, o.state FROM stream s JOIN run_list_own o ON o.stream_id = s.id WHERE s.name = ?1 UNION ALL"
    " SELECT s.name, p.state FROM run_list_part p JOIN stream s ON s.id = p.stream_id WHERE p.entity = ?1"
)
_decode_part = msgspec.msgpack.Decoder(RunPart).decode


def fold_own(parts: Parts[RunPart], batch: Batch) -> None:
    """Claims of the run's own stream."""
    if batch.start == 0:  # whatever the first line says, and however the stream is cut into batches
        parts[batch.stream.name].is_own_stream = True
    for event, payload in batch.payloads(RunCreated, RunConfigured, RunFinished, RunSummarized):
        part = parts[batch.stream.name]
        match payload:
            case RunCreated():
                meta = Meta.read(msgspec.to_builtins(payload))
                part.meta = claim(event.ts, meta, part.meta)
                part.status = claim(event.ts, RunStatus(RUNNING, started_at=number(payload.created_at)), part.status)
            case RunFinished():
                started = None if part.status is None else part.status.value.started_at
                ended = RunStatus(payload.status, started, number(payload.ended_at), payload.exit_reason)
                part.status = claim(event.ts, ended, part.status)
            case RunSummarized():
                part.summary = claim(event.ts, _updated(part.summary, payload.update), part.summary)
            case RunConfigured():
                part.config = claim(event.ts, _updated(part.config, payload.config), part.config)


def _updated(before: Claim[bytes] | None, update: dict[str, Any]) -> bytes:
    return dump_json({**({} if before is None else parse_json(before.value)), **update})


def fold_store(parts: Parts[RunPart], batch: Batch) -> None:
    """Claims of the store stream about any run."""
    for event, payload in batch.payloads(RunObserved, RunMirrored, RunVanished, RunLost, *DECIDED_EVENTS):
        if not is_run_key(payload.run):
            continue
        part = parts[payload.run]
        match payload:
            case RunObserved():
                _fold_observed(part, event.ts, payload)
            case RunMirrored():
                part.source = claim(event.ts, payload.source, part.source)
            case RunVanished():
                part.present = claim(event.ts, False, part.present)
            case RunLost():
                dead = RunStatus(payload.status, None, number(payload.ended_at), payload.exit_reason)
                part.lost = claim(event.ts, dead, part.lost or part.status)
            case RunDecision():
                _fold_decided(part, event.ts, payload)


def _fold_decided(part: RunPart, ts: float, decided: RunDecision) -> None:
    match decided:
        case RunDeleted():
            deletion = Deletion(number(decided.deleted_at), decided.reason, decided.original_status)
            part.deleted = claim(ts, deletion, part.deleted)
            part.present = claim(ts, True, part.present)  # also after a purge that failed
        case RunRestored():
            part.deleted = claim(ts, None, part.deleted)
        case RunPurged():
            part.present = claim(ts, False, part.present)
            _annotate(part, ts, None)
        case RunTagged():
            part.tags = claim(ts, read_tags(decided.tags), part.tags)
            part.annotated = claim(ts, number(ts), part.annotated)
        case RunDescribed():
            part.description = claim(ts, text(decided.description), part.description)
            part.annotated = claim(ts, number(ts), part.annotated)
        case RunArchived():
            part.archived = claim(ts, decided.archived, part.archived)
            part.annotated = claim(ts, number(ts), part.annotated)
        case RunPinned():
            part.pinned = claim(ts, decided.pinned, part.pinned)
            part.annotated = claim(ts, number(ts), part.annotated)
        case _:
            pass


def _annotate(part: RunPart, ts: float, entry: Entry | None) -> None:
    """Everything that people said about the run is what the entry says; None: they said nothing."""
    said = Entry() if entry is None else entry
    part.tags = claim(ts, said.tags, part.tags)
    part.description = claim(ts, said.description, part.description)
    part.archived = claim(ts, said.archived, part.archived)
    part.pinned = claim(ts, said.pinned, part.pinned)
    part.annotated = claim(ts, said.updated_at, part.annotated)
    part.label = claim(ts, said.label, part.label)


def _fold_observed(part: RunPart, ts: float, observed: RunObserved) -> None:
    content = observed.content or {}
    match observed.file:
        case str(file) if file == DIRECTORY:
            part.present = claim(ts, True, part.present)
            part.directory = claim(ts, number(content.get("mtime")), part.directory)
        case str(file) if file == META_FILE:
            part.meta = claim(ts, Meta.read(content), part.meta)
        case str(file) if file == STATUS_FILE:
            part.status, part.lost = claim(ts, RunStatus.read(content), part.lost or part.status), None
        case str(file) if file == SUMMARY_FILE:
            part.summary = claim(ts, dump_json(content), part.summary)
        case str(file) if file == DELETED_FILE:
            marker = None if observed.content is None else Deletion.read(content, ts)
            part.deleted = claim(ts, marker, part.deleted)
        case str(file) if file == ARTIFACTS_CREATED_FILE:
            part.created = claim(ts, ArtifactList.read(content), part.created)
        case str(file) if file == ARTIFACTS_USED_FILE:
            part.used = claim(ts, ArtifactList.read(content), part.used)
        case str(file) if file == METADATA_FILE:
            _annotate(part, ts, None if observed.content is None else Entry.read(content))
        case _:
            pass
