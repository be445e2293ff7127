"""The contract's metrics answers, read off the text: plain `json.loads`, dicts, loops. Slow, and obviously right.

Shares nothing with the product, so that a stored and served answer can be compared with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


def metrics_step(path: Path) -> Answer:
    """`GET /api/runs/{run_id}/metrics_step` of an `events.jsonl`."""
    rows: dict[int, dict[str, Any]] = {}
    for _, data in metric_events(path):
        step = step_of(data)
        if step is not None:
            rows.setdefault(step, {}).update(values_of(data))
    keys = sorted({key for row in rows.values() for key in row})
    return answer(["global_step", *keys], [{"global_step": step, **rows[step]} for step in sorted(rows)])


def metrics(path: Path) -> Answer:
    """`GET /api/runs/{run_id}/metrics` of an `events.jsonl`."""
    events = [(time, data) for ts, data in metric_events(path) if (time := time_of(ts, data)) is not None]
    first = min((time for time, _ in events), default=0.0)
    rows: dict[float, dict[str, Any]] = {}
    for time, data in events:
        row = rows.setdefault(round(time - first, 6) + 0.0, {})
        step = step_of(data)
        row.update({**values_of(data), **({} if step is None else {"global_step": step})})
    keys = sorted({key for row in rows.values() for key in row} - {"time", "global_step"})
    return answer(["time", "global_step", *keys], [{**rows[time], "time": time} for time in sorted(rows)])


def answer(columns: list[str], rows: list[dict[str, Any]]) -> Answer:
    if not rows:
        return {"columns": [], "rows": []}
    return {"columns": columns, "rows": [{key: shown(row.get(key)) for key in columns} for row in rows]}


def shown(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def metric_events(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """`ts` as it stands and `data` of each metrics event."""
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        try:
            event = json.loads(line.decode("utf-8", "ignore").lstrip("\ufeff"), parse_int=whole)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("type") == "metrics" and isinstance(event.get("data"), dict):
            yield event.get("ts"), {clean(key): value for key, value in event["data"].items()}


def step_of(data: dict[str, Any]) -> int | None:
    step = data["global_step"] if "global_step" in data else data.get("step")
    try:
        return int(step)
    except (TypeError, ValueError, OverflowError):
        return None


def time_of(ts: Any, data: dict[str, Any]) -> float | None:
    for time in (data.get("time"), ts):
        if isinstance(time, (int, float)) and not isinstance(time, bool):
            try:
                if math.isfinite(time):
                    return float(time)
            except OverflowError:  # an int beyond the doubles
                pass
    return None


def values_of(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: clean(value) if isinstance(value, str) else value
        for key, value in data.items()
        if key not in ("global_step", "step", "epoch") and not isinstance(value, (list, dict))
    }


def whole(digits: str) -> int | None:
    return int(digits) if len(digits) < 4300 else None


def clean(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
