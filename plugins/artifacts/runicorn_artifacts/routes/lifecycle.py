"""Promoting and evaluating versions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import BadInput, NotFound, Store, shown
from runicorn_artifacts import promoting
from runicorn_artifacts.errors import ArtifactNotFound, IllegalName, VersionNotFound
from runicorn_artifacts.evaluations import EvaluationFiles, EvaluationRecord
from runicorn_artifacts.routes.changes import change
from runicorn_artifacts.routes.resolving import find_artifact, find_version, folder_of, version_number

Body = Mapping[str, Any]


class Promoted(msgspec.Struct, frozen=True):
    """The answer of `POST /api/artifacts/{name}/v{version}/promote`."""

    ok: bool
    artifact: str
    from_stage: str
    to_stage: str
    message: str


class Evaluated(msgspec.Struct, frozen=True):
    """The answer of `POST /api/artifacts/{name}/v{version}/evaluate`."""

    ok: bool
    eval_id: str
    message: str


@post(
    "/api/artifacts/{name:str}/{version:str}/promote",
    status_code=HTTP_200_OK,
    operation_id="promote_artifact_version",
)
async def promote_artifact_version(
    name: FromPath[str],
    version: FromPath[str],
    data: JSONBody[dict[str, Any]],
    store: Store,
    type: FromQuery[str | None] = None,
) -> Promoted:
    """Move a version to another stage: `experimental`, `staging`, `production` or `archived`."""
    number = version_number(version)
    to_stage = _required_text(data, "to_stage")
    notes, evaluator_run_id = _text(data, "notes"), _text(data, "evaluator_run_id")
    promoting.check_stage(to_stage)
    try:
        artifact, row = await find_version(store, name, version, type)
    except (ArtifactNotFound, VersionNotFound) as error:
        raise NotFound(f"Artifact not found: {shown(name)}:v{number}") from error
    folder = folder_of(store.root, artifact)
    from_stage = await change(
        store,
        artifact,
        lambda: promoting.promote(folder, row.version, to_stage, notes=notes, evaluator_run_id=evaluator_run_id),
    )
    return Promoted(
        True, f"{artifact.name}:v{row.version}", from_stage, to_stage, f"Successfully promoted to {to_stage}"
    )


@post(
    "/api/artifacts/{name:str}/{version:str}/evaluate",
    status_code=HTTP_200_OK,
    operation_id="evaluate_artifact_version",
)
async def evaluate_artifact_version(
    name: FromPath[str],
    version: FromPath[str],
    data: JSONBody[dict[str, Any]],
    store: Store,
    type: FromQuery[str | None] = None,
) -> Evaluated:
    """Record what somebody found out about a version."""
    version_number(version)
    evaluation = promoting.Evaluation(
        metrics=_metrics(data),
        status=_required_text(data, "status"),
        evaluator_run_id=_text(data, "evaluator_run_id"),
        test_dataset=_text(data, "test_dataset"),
        notes=_text(data, "notes"),
    )
    artifact, row = await find_version(store, name, version, type)
    folder = folder_of(store.root, artifact)
    eval_id = await change(store, artifact, lambda: promoting.evaluate(store.root, folder, row.version, evaluation))
    return Evaluated(True, eval_id, "Evaluation recorded successfully")


@get("/api/artifacts/{name:str}/evaluations", operation_id="list_artifact_evaluations")
async def list_artifact_evaluations(
    name: FromPath[str],
    store: Store,
    version: FromQuery[int | None] = None,
    type: FromQuery[str | None] = None,
) -> list[EvaluationRecord]:
    """Evaluations of an artifact's versions, the newest first."""
    files = store.own(EvaluationFiles)
    try:
        await find_artifact(store, name, type)
    except (ArtifactNotFound, IllegalName):
        if not await asyncio.to_thread(files.of, name, type, None):
            raise
    return await asyncio.to_thread(files.of, name, type, version)


def _metrics(body: Body) -> dict[str, float]:
    given = body.get("metrics")
    if given is None:
        raise BadInput("Missing required field: metrics")
    if not isinstance(given, dict):
        raise BadInput("Invalid value for metrics: must be an object")
    metrics: dict[str, float] = {}
    for metric, value in cast(dict[str, Any], given).items():
        found = _finite(value)
        if found is None:
            raise BadInput(f"Invalid value for metrics: {shown(metric)} is not a finite number")
        metrics[metric] = found
    return metrics


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _required_text(body: Body, field: str) -> str:
    if body.get(field) is None:
        raise BadInput(f"Missing required field: {field}")
    return _text(body, field) or ""


def _text(body: Body, field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise BadInput(f"Invalid value for {field}: must be a string")
    return value
