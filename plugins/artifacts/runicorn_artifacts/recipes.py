"""What runs wrote down of themselves: how to make again what they made. For threads: it reads files of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.plugin import (
    ENVIRONMENT_FILE,
    META_FILE,
    SIDE_FILE_BYTES,
    SUMMARY_FILE,
    is_run_key,
    number,
    open_below,
    parse_json,
    run_at,
    text,
    without_credentials,
)
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.reach import Reach, ReachedRun, ReachedVersion


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the repository."""

    commit: str | None
    branch: str | None
    has_changes: bool | None
    """Whether the code differed from the commit."""
    remote: str | None


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the run ran on. Packages are `name==version`."""

    python_version: str | None
    platform: str | None
    packages: list[str]
    gpus: list[str]


class RecipeStep(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and how it made what it made. Code and environment are null where the run did not note them."""

    run_id: str
    project: str | None
    name: str | None
    is_gone: bool
    """Its folder is gone: only what it used and made is known."""
    distance: int
    created_at: float | None
    code: Code | None
    environment: Environment | None
    summary: dict[str, Any]
    inputs: list[str]
    outputs: list[str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /api/artifacts/{name}/v{version}/provenance`: steps in the order in which to repeat them."""

    artifact: ReachedVersion
    is_reproducible: bool
    """Whether all runs are known with the commits of unchanged code, and no input is missing."""
    gaps: list[str]
    """What stands in the way of that."""
    inputs: list[ReachedVersion]
    steps: list[RecipeStep]
    is_all: bool


def provenance(root: Path, reach: Reach) -> Provenance:
    """The recipe of a version, from its ancestry and the files of the runs in it."""
    steps = [_step(root, run.run_id, run.key, run.distance, run.used, run.made) for run in _in_order(reach.runs)]
    gaps = _gaps(reach, steps)
    return Provenance(
        artifact=reach.root,
        is_reproducible=not gaps,
        gaps=gaps,
        inputs=reach.versions,
        steps=steps,
        is_all=reach.is_all,
    )


def _in_order(runs: list[ReachedRun]) -> list[ReachedRun]:
    """Each run after those that made its inputs; runs that depend on themselves at the end, the farthest first."""
    makers: dict[str, set[str]] = {}
    for run in runs:
        for artifact in run.made:
            makers.setdefault(artifact, set()).add(run.key)
    users: dict[str, list[ReachedRun]] = {}
    missing: dict[str, int] = {}
    for run in runs:
        needed = {key for artifact in run.used for key in makers.get(artifact, ())}
        missing[run.key] = len(needed)
        for key in needed:
            users.setdefault(key, []).append(run)
    left = {run.key: run for run in sorted(runs, key=lambda run: -run.distance)}
    ordered = [run for run in left.values() if not missing[run.key]]
    for run in ordered:  # grows meanwhile
        del left[run.key]
        for user in users.get(run.key, []):
            missing[user.key] -= 1
            if not missing[user.key]:
                ordered.append(user)
    return [*ordered, *left.values()]


def _gaps(reach: Reach, steps: list[RecipeStep]) -> list[str]:
    gaps = [f"{v.artifact}: {v.status}" for v in (reach.root, *reach.versions) if v.status != "ready"]
    known = {reach.root.artifact, *(version.artifact for version in reach.versions)}
    if not reach.root.created_by_run:
        gaps.append(f"{reach.root.artifact}: nobody knows which run made it")
    for step in steps:
        if step.is_gone:
            gaps.append(f"run {step.run_id}: gone")
        elif step.code is None or step.code.commit is None:
            gaps.append(f"run {step.run_id}: no commit of its code is known")
        elif step.code.has_changes is not False:
            gaps.append(f"run {step.run_id}: its code differed from the commit")
        gaps += [f"{artifact}: gone" for artifact in step.inputs if reach.is_all and artifact not in known]
    return list(dict.fromkeys(gaps))


def _step(root: Path, run_id: str, key: str, distance: int, used: list[str], made: list[str]) -> RecipeStep:
    directory = root / key
    meta = _object(directory, META_FILE) if is_run_key(key) else None
    is_gone = meta is None and not (is_run_key(key) and directory.is_dir())
    project, name = (
        run_at(key).names(*((meta or {}).get(f) for f in ("project", "name"))) if not is_gone else (None,) * 2
    )
    environment = None if is_gone else _object(directory, ENVIRONMENT_FILE)
    return RecipeStep(
        run_id=run_id,
        project=project,
        name=name,
        is_gone=is_gone,
        distance=distance,
        created_at=number((meta or {}).get("created_at")),
        code=None if environment is None else _code(environment.get("git_info")),
        environment=None if environment is None else _environment(environment),
        summary={} if is_gone else finite(_object(directory, SUMMARY_FILE) or {}),
        inputs=used,
        outputs=made,
    )


def _object(directory: Path, file: str) -> dict[str, Any] | None:
    try:
        with open_below(directory, [file]) as opened:
            data = opened.read(SIDE_FILE_BYTES + 1)
        content = parse_json(data) if len(data) <= SIDE_FILE_BYTES else None
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], content) if isinstance(content, dict) else None


def _code(git: object) -> Code | None:
    if not isinstance(git, dict):
        return None
    said = cast(Mapping[str, object], git)
    remote, changes = text(said.get("remote")), said.get("has_changes")
    return Code(
        commit=text(said.get("commit")),
        branch=text(said.get("branch")),
        has_changes=changes if isinstance(changes, bool) else None,
        remote=None if remote is None else without_credentials(remote),  # 0.4.0 stored them
    )


def _environment(said: Mapping[str, object]) -> Environment:
    gpus = [
        text(cast(Mapping[str, object], gpu).get("name"))
        for gpu in _list(said.get("gpu_info"))
        if isinstance(gpu, dict)
    ]
    return Environment(
        python_version=text(said.get("python_version")),
        platform=text(said.get("platform")),
        packages=[found for item in _list(said.get("pip_packages")) if (found := text(item)) is not None],
        gpus=[gpu for gpu in gpus if gpu is not None],
    )


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []
