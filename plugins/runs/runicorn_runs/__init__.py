"""Runicorn's `runs` plugin: runs, their metrics and logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runicorn.plugin import RUN_EVENTS, Payload, Projection, Source, hookimpl


@hookimpl
def runicorn_event_types() -> Sequence[type[Payload]]:
    from runicorn_runs.events import STORE_EVENTS

    return (*RUN_EVENTS, *STORE_EVENTS)


@hookimpl
def runicorn_projections() -> Sequence[Projection]:
    from runicorn_runs.projections.run_list import RunList

    return [RunList()]


@hookimpl
def runicorn_sources(root: Path) -> Sequence[Source]:
    from runicorn_runs.sources import RunFiles

    return [RunFiles()]
