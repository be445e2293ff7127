"""Telling the log where runs come from, so that everybody knows it: lists, liveness, and a replay."""

from __future__ import annotations

import logging
from collections.abc import Callable

from runicorn.plugin import MIRRORS, RunicornError, RunMirrored
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.state import MirrorState
from runicorn_remote.mirror.units import is_run

logger = logging.getLogger("runicorn.remote")

Record = Callable[..., object]
"""Appends events to the store stream, such as `Store.record`."""


def tell_origins(state: MirrorState, source: RemoteSource, record: Record) -> None:
    """Record the origin of the runs that a mirror has claimed since the last call. What cannot be recorded is next time."""
    untold = [(unit, in_place) for unit, in_place in state.untold() if is_run(unit)]
    if not untold:
        return
    events = [
        RunMirrored(
            run=unit if in_place else f"{MIRRORS}/{source.key}/{state.conflict_tree.name}/{unit}",
            run_id=unit.rpartition("/")[2],
            source=source.target.connection_id,
        )
        for unit, in_place in untold
    ]
    try:
        record(*events)
    except RunicornError as error:
        logger.warning("the origin of mirrored runs is not recorded yet: %s", error)
        return
    state.set_told(unit for unit, _ in untold)
