"""What the events about a run say, in words and as changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from runicorn.plugin import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    META_FILE,
    METADATA_FILE,
    RUNNING,
    STATUS_FILE,
    SUMMARY_FILE,
    ArtifactLogged,
    ArtifactUsed,
    Deletion,
    Event,
    Facts,
    FieldChange,
    Payload,
    RunArchived,
    RunConfigured,
    RunCreated,
    RunDecision,
    RunDeleted,
    RunDescribed,
    RunFinished,
    RunImported,
    RunLost,
    RunMirrored,
    RunObserved,
    RunPinned,
    RunPurged,
    RunRestored,
    RunSummarized,
    RunTagged,
    Told,
    Who,
    decider,
    decode_among,
    number,
    text,
)
from runicorn_runs.events import RunVanished
from runicorn_runs.facts import DIRECTORY, ArtifactList, Content, Entry, Meta, RunStatus, read_tags
from runicorn_runs.history.labels import OWN, PROCESS, SETS

_TYPES: Mapping[str, type[Payload]] = {
    payload.event_type: payload
    for payload in (
        *(RunCreated, RunConfigured, RunSummarized, RunFinished, ArtifactLogged, ArtifactUsed),
        *(RunDeleted, RunRestored, RunPurged, RunTagged, RunDescribed, RunArchived, RunPinned),
        *(RunMirrored, RunVanished, RunLost, RunImported, RunObserved),
    )
}
_NAMED = 5  # keys of a summary or a configuration that are named in words

Sentence = tuple[str, list[FieldChange]]


class RunTeller:
    """See `runicorn.plugin.Teller`."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "exists": False,
        "tags": [],
        "archived": False,
        "pinned": False,
        "artifacts_created": 0,
        "artifacts_used": 0,
    }

    def sets(self, label: str) -> Mapping[str, bool]:
        """The fields that an event sets."""
        return SETS.get(label, {})

    def uses(self, label: str) -> Collection[str]:
        """The training process speaks in the run's own stream."""
        return (PROCESS,) if label in OWN else ()

    def tell(self, event: Event, label: str, facts: Facts) -> Told | None:
        """What an event says."""
        payload = decode_among(event, _TYPES)
        match payload:
            case None:
                return None
            case RunObserved():
                return Told("observed", *_observed(payload, event.ts, facts))
            case RunDecision():
                return Told("command", *_decided(payload, facts), decider(payload))
            case RunMirrored():
                changes = facts.set("source", payload.source)
                return Told("server", f"Brought from {payload.source}", changes, Who(source=payload.source))
            case RunVanished():
                return Told("server", "Its directory is gone", facts.set("exists", False))
            case RunLost():
                status = RunStatus(payload.status, exit_reason=payload.exit_reason)
                return Told("server", f"Its process is gone: {_ending(status)}", _set_status(status, facts))
            case RunImported():
                instead = ", in place of another run" if payload.replaced else ""
                return Told("command", f"Imported from an archive{instead}", [], decider(payload))
            case _:
                what, changes = _own(payload, facts)
                return Told("process", what, changes, facts.get(PROCESS))


def _own(payload: Payload, facts: Facts) -> Sentence:
    """What the training process says."""
    match payload:
        case RunCreated():
            is_again = facts.get("status") is not None
            changes = [
                *facts.set("exists", True),
                *_set_meta(
                    Meta(project=payload.project, name=payload.name, hostname=payload.hostname, pid=payload.pid), facts
                ),
                *_set_status(RunStatus(RUNNING), facts),
            ]
            where = "" if payload.hostname is None else f" on {payload.hostname}"
            return f"{'Started again' if is_again else 'Created'} in {payload.project} / {payload.name}{where}", changes
        case RunConfigured():
            return f"Configuration: {_names(payload.config)}", facts.update("config", payload.config)
        case RunSummarized():
            return f"Summary: {_names(payload.update)}", facts.update("summary", payload.update)
        case RunFinished():
            status = RunStatus(payload.status, exit_reason=payload.exit_reason)
            return f"Ended: {_ending(status)}", _set_status(status, facts)
        case ArtifactLogged():
            made = f"{payload.type}/{payload.name}:v{payload.version}"
            return f"Made the artifact {made}, {payload.size_bytes} bytes", [
                FieldChange("artifact_created", None, made)
            ]
        case ArtifactUsed():
            used = f"{payload.type}/{payload.name}:v{payload.version}"
            return f"Used the artifact {used}", [FieldChange("artifact_used", None, used)]
        case _:
            return payload.event_type, []


def _decided(decided: RunDecision, facts: Facts) -> Sentence:
    """What somebody decided."""
    match decided:
        case RunDeleted():
            deletion = Deletion(number(decided.deleted_at), decided.reason, decided.original_status)
            changes = [*facts.set("deleted", deletion.content()), *facts.set("exists", True)]
            return f"Put into the recycle bin ({decided.reason})", changes
        case RunRestored():
            return "Taken out of the recycle bin", facts.set("deleted", None)
        case RunPurged():
            return "Removed for good", [*facts.set("exists", False), *_set_said(Entry(), facts)]
        case RunTagged():
            tags = read_tags(decided.tags)
            return f"Tags: {', '.join(tags)}" if tags else "Tags removed", facts.set("tags", tags)
        case RunDescribed():
            description = text(decided.description)
            return "Description removed" if description is None else f"Description: {description}", facts.set(
                "description", description
            )
        case RunArchived():
            return "Archived" if decided.archived else "No longer archived", facts.set("archived", decided.archived)
        case RunPinned():
            return "Pinned" if decided.pinned else "No longer pinned", facts.set("pinned", decided.pinned)
        case _:
            return decided.event_type, []


def _observed(observed: RunObserved, ts: float, facts: Facts) -> Sentence:
    """What a file that others wrote says."""
    content = observed.content or {}
    if observed.file == DIRECTORY:
        return "Its directory was found", facts.set("exists", True)
    seen = f"{observed.file} is gone" if observed.content is None else f"{observed.file} says something new"
    return seen, _of_file(observed.file, None if observed.content is None else content, ts, facts)


def _of_file(file: str, content: Content | None, ts: float, facts: Facts) -> list[FieldChange]:
    given = {} if content is None else content
    match file:
        case str() if file == META_FILE:
            return _set_meta(Meta.read(given), facts)
        case str() if file == STATUS_FILE:
            return _set_status(RunStatus.read(given), facts)
        case str() if file == SUMMARY_FILE:
            return facts.replace("summary", given)
        case str() if file == DELETED_FILE:
            return facts.set("deleted", None if content is None else Deletion.read(content, ts).content())
        case str() if file == ARTIFACTS_CREATED_FILE:
            return facts.set("artifacts_created", ArtifactList.read(given).count)
        case str() if file == ARTIFACTS_USED_FILE:
            return facts.set("artifacts_used", ArtifactList.read(given).count)
        case str() if file == METADATA_FILE:
            return _set_said(Entry() if content is None else Entry.read(content), facts)
        case _:
            return []


def _set_meta(meta: Meta, facts: Facts) -> list[FieldChange]:
    changes = [*facts.set("project", meta.project), *facts.set("name", meta.name)]
    is_named = meta.hostname is not None or meta.pid is not None
    facts.set(PROCESS, Who(host=meta.hostname, pid=meta.pid) if is_named else None)
    return changes


def _set_status(status: RunStatus, facts: Facts) -> list[FieldChange]:
    return [*facts.set("status", status.status), *facts.set("exit_reason", status.exit_reason)]


def _set_said(entry: Entry, facts: Facts) -> list[FieldChange]:
    label = {} if entry.label is None else {"project": entry.label.project, "name": entry.label.name}
    return [
        *facts.set("tags", entry.tags),
        *facts.set("description", entry.description),
        *facts.set("archived", entry.archived),
        *facts.set("pinned", entry.pinned),
        *facts.replace("label", {key: value for key, value in label.items() if value is not None}),
    ]


def _ending(status: RunStatus) -> str:
    return status.status if status.exit_reason is None else f"{status.status} ({status.exit_reason})"


def _names(given: Mapping[str, Any]) -> str:
    named = ", ".join(list(given)[:_NAMED])
    return named if len(given) <= _NAMED else f"{named} and {len(given) - _NAMED} more"
