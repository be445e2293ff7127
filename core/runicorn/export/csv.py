"""CSV of a run's metrics: one row per metrics event, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from runicorn.export.text import MISSING, formula_safe, shown_field
from runicorn.fields import without_surrogates

LEADING_COLUMNS = ("global_step", "step", "time", "stage")
_ROWS_PER_PIECE = 250  # some 20 kB: a server breathes between pieces


def metric_columns(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys: `global_step`, `step`, `time`, `stage` first, then the others by code point. Empty without an event."""
    found: set[str] = set()
    for data in metrics:
        found.update(data)
    leading = [key for key in LEADING_COLUMNS if key in found]
    return leading + sorted(found.difference(leading))


def csv_pieces(
    metrics: Iterable[Mapping[str, Any]],
    meta: Mapping[str, Any] | None,
    *,
    now: datetime | None = None,
    comments: bool = True,
) -> Iterator[str]:
    """The CSV text in pieces; none at all if there are no metrics.

    `metrics` is iterated twice: for the columns, then for the rows. Comment lines (with `comments`) end in LF, header and
    rows in CR LF; what `meta` says is left out if it is None. Null is an empty cell, floats are as Python prints them,
    texts that a spreadsheet would take for a formula get a leading `'`.
    """
    columns = metric_columns(metrics)
    if not columns:
        return
    if comments:
        yield _comments(meta, now or datetime.now())
    pieces: list[str] = []
    writer = csv.writer(_Sink(pieces), lineterminator="\r\n")
    writer.writerow(map(formula_safe, columns))
    rows = (_row(data, columns) for data in metrics)
    while batch := list(islice(rows, _ROWS_PER_PIECE)):
        writer.writerows(batch)
        yield without_surrogates("".join(pieces))
        pieces.clear()


def _row(data: Mapping[str, Any], columns: list[str]) -> list[Any]:
    row = list(map(data.get, columns))
    if str in map(type, row):
        return [formula_safe(value) if isinstance(value, str) else value for value in row]
    return row


def _comments(meta: Mapping[str, Any] | None, now: datetime) -> str:
    lines = [f"# Runicorn Export - {now.isoformat()}"]
    if meta is not None:
        for label, key in ("Project", "project"), ("Experiment", "name"), ("Run ID", "id"):
            lines.append(f"# {label}: {shown_field(meta.get(key, MISSING))}")
    return "\n".join([*lines, "#", ""])


class _Sink:
    """Where a `csv.writer` writes: a list of texts."""

    def __init__(self, pieces: list[str]) -> None:
        self.write = pieces.append
