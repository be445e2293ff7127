"""What the events about an artifact say, in words and as changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import msgspec

from runicorn.plugin import Event, Facts, FieldChange, Told, Who, decider, decode_among
from runicorn_artifacts.events import (
    ARTIFACT_EVENTS,
    OBSERVED_EVENTS,
    ArtifactAliased,
    ArtifactDecision,
    ArtifactObserved,
    ArtifactPayload,
    VersionCreated,
    VersionDeleted,
    VersionEvaluated,
    VersionObserved,
    VersionPromoted,
    VersionPurged,
    VersionRestored,
)
from runicorn_artifacts.history.labels import ALIASES, SETS, VERSIONS
from runicorn_artifacts.lifecycle import EXPERIMENTAL

_TYPES: Mapping[str, type[ArtifactPayload | ArtifactDecision]] = {
    payload.event_type: payload for payload in (*ARTIFACT_EVENTS, *OBSERVED_EVENTS)
}


class ArtifactTeller:
    """See `runicorn.plugin.Teller`."""

    defaults: ClassVar[Mapping[str, Any]] = {"exists": True}

    def sets(self, label: str) -> Mapping[str, bool]:
        """The fields that an event sets."""
        return SETS.get(label, {})

    def uses(self, label: str) -> Collection[str]:
        """None besides."""
        return ()

    def tell(self, event: Event, label: str, facts: Facts) -> Told | None:
        """What an event says."""
        payload = decode_among(event, _TYPES)
        match payload:
            case None:
                return None
            case VersionCreated():
                return _created(payload, facts)
            case ArtifactObserved():
                changes = [*facts.set("exists", payload.is_present), *facts.update(ALIASES, payload.aliases)]
                return Told("observed", "Its index says something new", changes)
            case VersionObserved():
                return _version_observed(payload, facts)
            case ArtifactDecision():
                return _changed(payload, facts, decider(payload))
            case _:
                return Told("other", payload.event_type, [])


def _created(payload: VersionCreated, facts: Facts) -> Told:
    record = payload.record
    is_known = record.created_by_user is not None or record.created_by_run != ""
    who = Who(user=record.created_by_user, run_id=record.created_by_run or None) if is_known else None
    what = f"Saved v{payload.version}: {record.num_files} file(s), {record.size_bytes} bytes"
    changes = _set_version(facts, payload.version, exists=True, deleted_at=None, stage=EXPERIMENTAL)
    return Told("process", what, [change for change in changes if change.field.endswith(".exists")], who)


def _changed(payload: ArtifactDecision, facts: Facts, who: Who | None) -> Told:
    match payload:
        case ArtifactAliased():
            target = "is removed" if payload.version is None else f"is v{payload.version}"
            changes = facts.update(ALIASES, {payload.alias: payload.version})
            return Told("command", f"Alias {payload.alias} {target}", changes, who)
        case VersionDeleted():
            changes = _set_version(facts, payload.version, deleted_at=payload.deleted_at)
            return Told("command", f"v{payload.version} deleted", changes, who)
        case VersionRestored():
            changes = _set_version(facts, payload.version, deleted_at=None)
            return Told("command", f"v{payload.version} restored", changes, who)
        case VersionPurged():
            changes = _set_version(facts, payload.version, exists=False, deleted_at=None, stage=None)
            gone = [change for change in changes if change.field.endswith(".exists")]
            return Told("command", f"v{payload.version} removed for good", gone, who)
        case VersionPromoted():
            moved = _set_version(facts, payload.version, stage=payload.to_stage)
            changes = [FieldChange(it.field, payload.from_stage, it.after) for it in moved]  # it says so itself
            notes = "" if payload.notes is None else f" ({payload.notes})"
            what = f"v{payload.version} from {payload.from_stage} to {payload.to_stage}{notes}"
            return Told("command", what, changes, _with_run(who, payload.evaluator_run_id))
        case VersionEvaluated():
            metrics = ", ".join(f"{name} {value:.6g}" for name, value in payload.metrics.items())
            what = f"v{payload.version} evaluated: {payload.status}{metrics and f', {metrics}'}"
            return Told("command", what, [], _with_run(who, payload.evaluator_run_id))
        case _:
            return Told("other", payload.event_type, [])


def _version_observed(payload: VersionObserved, facts: Facts) -> Told:
    if payload.record is None:
        changes = _set_version(facts, payload.version, exists=False, deleted_at=None, stage=None)
        return Told("observed", f"v{payload.version} is gone", [it for it in changes if it.field.endswith(".exists")])
    stage = payload.stage or EXPERIMENTAL
    changes = _set_version(facts, payload.version, exists=True, deleted_at=payload.deleted_at, stage=stage)
    return Told("observed", f"The files of v{payload.version} say something new", changes)


def _set_version(facts: Facts, version: int, **values: Any) -> list[FieldChange]:
    return facts.update(VERSIONS, {f"v{version}.{name}": value for name, value in values.items()})


def _with_run(who: Who | None, run_id: str | None) -> Who | None:
    return who if run_id is None else msgspec.structs.replace(who or Who(), run_id=run_id)
