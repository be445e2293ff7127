"""The answers of `metrics/fast`, read off the text as the contract says: dicts and loops, nothing of the product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.reference_metrics import metric_events, step_of, values_of

NO_METRICS = ("time", "stage", "epoch")

Row = dict[str, Any]


def merged(path: Path) -> dict[int, Row]:
    """The values of each step, ascending; the later event wins."""
    stat = path.stat() if path.exists() else None
    return _merged(path, stat and (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=16)
def _merged(path: Path, _: object) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for _, data in metric_events(path):
        step = step_of(data)
        if step is not None:
            rows.setdefault(step, {}).update(values_of(data))
    return {step: rows[step] for step in sorted(rows)}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def metrics_of(rows: dict[int, Row]) -> list[str]:
    names = {key for row in rows.values() for key, value in row.items() if is_number(value)}
    return sorted(names.difference(NO_METRICS))


def expected_columns(path: Path, wanted: Sequence[str] | None) -> list[str]:
    names = metrics_of(merged(path)) if wanted is None else list(wanted)
    return ["global_step", *names] if names else []


def expected_rows(path: Path, wanted: Sequence[str] | None, bounds: Sequence[int] | None) -> list[Row]:
    rows = merged(path)
    metrics = metrics_of(rows)
    columns = metrics if wanted is None else wanted
    return [
        {"global_step": step, **{key: shown(row.get(key)) if key in metrics else None for key in columns}}
        for step, row in rows.items()
        if any(is_number(row.get(key)) for key in metrics) and (bounds is None or bounds[0] <= step <= bounds[1])
    ]


def shown(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else None


def extremes(rows: list[Row], columns: Sequence[str]) -> list[int]:
    """The steps of each column's first minimum and maximum, in column order."""
    found: list[int] = []
    for key in columns:
        usable = [row for row in rows if row[key] is not None]
        if usable:
            found += [pick(usable, key=lambda row, key=key: row[key])["global_step"] for pick in (min, max)]
    return found
