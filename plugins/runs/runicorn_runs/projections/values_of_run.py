"""What the rows of `run_values` hold of one run, from its row, its summary, its configuration and its stream.

Nothing here reads or writes a table: much of it is worked out in other processes, while a file is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from runicorn.plugin import Batch, Stream
from runicorn_runs.attributes import attributes, attributes_of
from runicorn_runs.metric_statistics import MetricStatistics
from runicorn_runs.metric_totals import RunTotals
from runicorn_runs.projections.batch_frame import metric_frame
from runicorn_runs.projections.run_list import COLUMNS
from runicorn_runs.projections.single_run import single_run

SUMMARY, CONFIG, METRIC = "s", "c", "m"
"""Where a name comes from: `source` of `run_value_key`."""

_FACTS = (
    "listed", "run_id", "run_id_fold", "project", "project_fold", "name", "name_fold", "status", "created", "started",
    "ended", "deleted_at", "best_value", "best_step", "best_name", "best_mode",
)  # fmt: skip
_facts_of = itemgetter(*map(COLUMNS.index, (*_FACTS, "config")))
_times_of = itemgetter(*map(COLUMNS.index, ("created", "started", "ended", "deleted_at", "annotated")))

_encode_totals = msgspec.msgpack.Encoder().encode


class PreparedValues(NamedTuple):
    """What a stream says about its run."""

    totals: bytes | None
    """None: they are to be read off the points."""
    shown: tuple[Any, ...] | None
    """What `run_brief` has behind the run's id and before the counts; None: the row of the run is not known."""
    folds: tuple[Any, ...]
    """What it has at its end."""
    values: list[tuple[str, str, float | None, str | None, str | None]]
    """Source, name, number, text and case-folded text."""


class ValuesPreparation:
    """The totals of one stream, and what there is of its run, worked out away from the tables."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._state: MetricStatistics | None = MetricStatistics()

    def add(self, batch: Batch) -> None:
        """Fold the next metric events."""
        frame = metric_frame(batch)
        if frame is None or self._state is None:
            return
        try:
            self._state.add(frame, _no_points)
        except _WentBack:
            self._state = None
        else:
            self._state.shrink()

    def take(self, *, is_end: bool) -> PreparedValues | None:
        """All of it, at the end; None for a run that goes back, whose points have to be read again."""
        if not is_end:
            return None
        row, summary, last_ts = single_run(self._stream).take()
        if self._state is None:
            return None
        totals = encoded_totals(self._state.totals())
        if totals is None or row is None:
            return PreparedValues(totals, None, (), [])
        *facts, config = _facts_of(row)
        updated = max(*(ts or 0.0 for ts in _times_of(row)), last_ts or 0.0) or None
        values = [
            (source, name, number, txt, folded(txt))
            for source, found in ((SUMMARY, attributes_of(summary)), (CONFIG, attributes(config)))
            for name, (number, txt) in found.items()
        ]
        return PreparedValues(totals, shown(facts, updated), folds(facts), values)


class _WentBack(Exception):
    """The points that would be needed are in another process."""


def _no_points() -> Iterable[Any]:
    raise _WentBack


def encoded_totals(totals: RunTotals) -> bytes | None:
    """As `run_values_part` keeps them; None if they cannot be kept."""
    try:
        return _encode_totals(totals)
    except OverflowError:  # a step beyond 64 bits
        return None


def shown(facts: Sequence[Any], updated: float | None) -> tuple[Any, ...]:
    """Columns of `run_brief`, before the counts, from the facts of a run."""
    listed, run_id, run_id_fold, project, project_fold, name, name_fold, *others = facts
    return (
        listed, run_id, _unless_same(run_id_fold, run_id), project, _unless_same(project_fold, project),
        name, _unless_same(name_fold, name), *others, updated,
    )  # fmt: skip


def folds(facts: Sequence[Any]) -> tuple[str | None, str | None]:
    """The last two of `run_brief`: of status and name of the best metric."""
    return folded(facts[7]), folded(facts[14])


def folded(text: str | None) -> str | None:
    """The case-folded text, where SQLite's `lower` says something else; else None."""
    if text is None or text.isascii():
        return None
    fold = text.casefold()
    return None if fold == text.encode().lower().decode() else fold  # of bytes, `lower` is that of ASCII


def _unless_same(fold: str | None, text: str | None) -> str | None:
    return None if not text or fold == text else fold
