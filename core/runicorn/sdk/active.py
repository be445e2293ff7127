"""The active run of this process, and the functions that record into it.

Where a process has several runs, the functions mean the one that was begun last; the others go on as objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from runicorn.sdk.run import Run

if TYPE_CHECKING:
    from runicorn.artifacts import Artifact

_active: Run | None = None


class NoActiveRun(RuntimeError):
    """Something was to be recorded before `init`."""

    def __init__(self) -> None:
        super().__init__("runicorn.init() must be called before logging")


def init(
    project: str | None = "default",
    storage: str | os.PathLike[str] | None = None,
    run_id: str | None = None,
    name: str | None = None,
    capture_env: bool = True,
    *,
    config: Mapping[str, Any] | None = None,
    remote: str | None = None,
) -> Run:
    """Begin a run (arguments and errors: see `Run`) and make it the active one. An earlier one is not finished."""
    global _active
    run = Run(project, storage, run_id, name, capture_env, config=config, remote=remote)
    previous, _active = _active, run
    if previous is not None:
        previous.release()
    return run


def get_active_run() -> Run | None:
    """The run that was begun last; None before the first."""
    return _active


def log(data: Mapping[str, Any] | None = None, *, step: Any = None, stage: Any = None, **kw: Any) -> None:
    """Record metrics in the active run; see `Run.log`."""
    _run().log(data, step=step, stage=stage, **kw)


def log_text(text: str) -> None:
    """Add an entry to the log of the active run; see `Run.log_text`."""
    _run().log_text(text)


def log_image(
    key: str,
    image: object,
    step: int | None = None,
    caption: str | None = None,
    format: str = "png",
    quality: int = 90,
) -> str:
    """Store an image with the active run; see `Run.log_image`."""
    return _run().log_image(key, image, step, caption, format, quality)


def summary(update: Mapping[str, Any] | None) -> None:
    """Set keys of the active run's summary; see `Run.summary`."""
    _run().summary(update)


def configure(config: Mapping[str, Any] | None) -> None:
    """Record parameters of the active run's training; see `Run.configure`."""
    _run().configure(config)


def set_primary_metric(metric_name: str, mode: Literal["max", "min"] = "max") -> None:
    """Keep the best value of a metric in the summary of the active run; see `Run.set_primary_metric`."""
    _run().set_primary_metric(metric_name, mode)


def log_artifact(
    artifact: Artifact | str | os.PathLike[str],
    name: str | None = None,
    type: str = "model",
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> int:
    """Save an artifact of the active run; the number of the version. Errors: see `Run.log_artifact`.

    Of a path, an artifact is made: of a file, or of all files below a directory. Its name is that of the file or
    directory, unless there is a `name`.
    """
    from runicorn.artifacts import Artifact

    run = _run()
    if not isinstance(artifact, Artifact):
        artifact = Artifact.of_path(artifact, name, type, description, metadata)
    return run.log_artifact(artifact)


def use_artifact(spec: str) -> Artifact:
    """A stored version, `[type/]name:v3` or `[type/]name:alias`, which the active run uses; see `Run.use_artifact`."""
    return _run().use_artifact(spec)


def finish(status: str = "finished") -> None:
    """Record the end of the active run, which stays active; see `Run.finish`."""
    _run().finish(status)


def _run() -> Run:
    if _active is None:
        raise NoActiveRun
    return _active
