"""Stages, evaluations and aliases of versions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from runicorn.plugin import (
    BadInput,
    Conflict,
    InvalidPayload,
    NotFound,
    as_file,
    decode_payload,
    read_artifact_events,
    shown,
)
from runicorn_artifacts.changing import Change, changing
from runicorn_artifacts.errors import VersionNotFound
from runicorn_artifacts.events import ArtifactAliased, VersionEvaluated, VersionPromoted
from runicorn_artifacts.folder import LIFECYCLE_FILE, METADATA_FILE, ArtifactFolder
from runicorn_artifacts.lifecycle import PRODUCTION, STAGES, STAGING, Lifecycle, is_allowed
from runicorn_artifacts.naming import PRODUCTION as PRODUCTION_ALIAS

EVALUATIONS = "evaluations"
"""Folder of the root with a file for each evaluation."""


Move = tuple[int, str, str | None, str | None]
"""A version, the stage that it is in from now on, notes, and the run that has evaluated it."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody found out about a version. `id` and date are given when it is recorded."""

    metrics: dict[str, float]
    status: str
    evaluator_run_id: str | None = None
    test_dataset: str | None = None
    notes: str | None = None


def check_stage(stage: str) -> None:
    """BadInput if there is no such stage."""
    if stage not in STAGES:
        raise BadInput(f"Invalid target stage: {shown(stage)}. Must be one of {list(STAGES)}")


def promote(
    folder: ArtifactFolder,
    version: int,
    to_stage: str,
    *,
    notes: str | None = None,
    evaluator_run_id: str | None = None,
) -> str:
    """Move a version to another stage; the one that it had. At most one version of an artifact is in production."""
    check_stage(to_stage)
    with changing(folder) as change:
        now = change.folder
        name = f"{now.name}:v{version}"
        if not now.has(version):
            raise NotFound(f"Artifact not found: {shown(name)}")
        if now.metadata(version) is None:
            if os.path.lexists(now.version_path(version) / METADATA_FILE):
                raise Conflict(f"Artifact metadata is corrupted: {shown(name)}")
            raise NotFound("Artifact metadata not found")
        if now.is_deleted(version):
            raise Conflict(f"Version is deleted: {shown(name)}")
        from_stage = now.lifecycle(version).stage
        if not is_allowed(from_stage, to_stage):
            raise BadInput(f"Invalid transition from {from_stage} to {to_stage}")
        moves: list[Move] = [(version, to_stage, notes, evaluator_run_id)]
        if to_stage == PRODUCTION:
            others = [other for other in now.versions if other != version and now.lifecycle(other).stage == PRODUCTION]
            moves += [(other, STAGING, f"Superseded by {name}", None) for other in others]
        move(change, moves)
        if to_stage == PRODUCTION:
            change.alias(PRODUCTION_ALIAS, version)
        elif from_stage == PRODUCTION and change.index.aliases.get(PRODUCTION_ALIAS) == version:
            change.alias(PRODUCTION_ALIAS, None)
    return from_stage


def move(change: Change, moves: Sequence[Move]) -> None:
    """Let versions be in other stages."""
    folder = change.folder
    for version, stage, notes, run_id in moves:
        change.tell(
            VersionPromoted(
                type=folder.type,
                name=folder.name,
                version=version,
                from_stage=folder.lifecycle(version).stage,
                to_stage=stage,
                notes=notes,
                evaluator_run_id=run_id,
            )
        )
    # Whoever is killed in between must not leave two of them in production.
    for version, stage, notes, run_id in sorted(moves, key=lambda move: move[1] == PRODUCTION):
        lifecycle = folder.lifecycle(version)
        lifecycle.move(stage, change.ts, notes, run_id)
        _write(change, version, lifecycle)


def evaluate(root: Path, folder: ArtifactFolder, version: int, evaluation: Evaluation) -> str:
    """Record an evaluation; its id. VersionNotFound if there is no such version."""
    with changing(folder) as change:
        if not change.folder.has(version):
            raise VersionNotFound(folder.name, version)
        eval_id, path = _reserve(root / EVALUATIONS, f"{folder.name}_v{version}_{int(change.ts * 1000)}")
        change.undo.callback(path.unlink, missing_ok=True)
        change.tell(
            VersionEvaluated(
                type=folder.type,
                name=folder.name,
                version=version,
                eval_id=eval_id,
                status=evaluation.status,
                metrics=evaluation.metrics,
                evaluator_run_id=evaluation.evaluator_run_id,
                test_dataset=evaluation.test_dataset,
                notes=evaluation.notes,
            )
        )
        record = {
            "id": eval_id,
            "model_name": folder.name,
            "model_type": folder.type,
            "model_version": version,
            "evaluation_date": change.ts,
            "evaluator_run_id": evaluation.evaluator_run_id,
            "metrics": evaluation.metrics,
            "test_dataset": evaluation.test_dataset,
            "status": evaluation.status,
            "notes": evaluation.notes,
        }
        change.write(path, as_file(record))
        lifecycle = change.folder.lifecycle(version)
        lifecycle.note_evaluation(eval_id, change.ts, evaluation.status, evaluation.metrics)
        _write(change, version, lifecycle)
    return eval_id


def set_alias(folder: ArtifactFolder, alias: str, version: int | None) -> None:
    """Let an alias point to a version, or (None) remove it. VersionNotFound if there is no such version, or it is deleted."""
    with changing(folder) as change:
        if version is not None and (not change.folder.has(version) or change.folder.is_deleted(version)):
            raise VersionNotFound(folder.name, version)
        change.alias(alias, version)


def was_aliased(folder: ArtifactFolder, alias: str, version: int) -> bool:
    """Whether this alias has ever pointed to this version, as the stream of the artifact tells."""
    for event in read_artifact_events(folder.path, ArtifactAliased.event_type):
        with contextlib.suppress(InvalidPayload):
            said = decode_payload(event, ArtifactAliased)
            if (said.alias, said.version) == (alias, version):
                return True
    return False


def _write(change: Change, version: int, lifecycle: Lifecycle) -> None:
    change.write(change.folder.version_path(version) / LIFECYCLE_FILE, as_file(lifecycle.to_dict()))


def _reserve(directory: Path, eval_id: str) -> tuple[str, Path]:
    """An id that no other evaluation has, and its file, which is ours from now on."""
    directory.mkdir(exist_ok=True)
    number = 1
    while True:
        found = eval_id if number == 1 else f"{eval_id}_{number}"
        path = directory / f"{found}.json"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except FileExistsError:
            number += 1
        else:
            return found, path
