"""The rows that benchmarks produce, and the Markdown table of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of the table. `values` are the figures in base units (seconds, bytes, per second), for programs."""

    name: str
    """The name of the benchmark that measured it; one benchmark may give several rows."""
    what: str
    budget: str = ""
    measured: str
    baseline: str = ""
    """What doing it the 0.4.0 way takes; empty where 0.4.0 had no such thing."""
    ratio: float | None = None
    """How many times better ours is than the baseline."""
    met: bool | None = None
    """Whether the budget is met. None: no budget, or not the size that the budget speaks of."""
    values: dict[str, float] = {}
    failed: bool = False
    """True where nothing could be measured; `measured` says why."""


def markdown(rows: Sequence[Row]) -> str:
    """The table, with a heading line."""
    lines = ["| what | budget | measured | met | the 0.4.0 way | ratio |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.0f}×" if row.ratio >= 10 else f"{row.ratio:.1f}×"
        cells = (row.what, row.budget, row.measured, met, row.baseline, ratio)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") or "–" for cell in cells) + " |")
    return "\n".join(lines)
