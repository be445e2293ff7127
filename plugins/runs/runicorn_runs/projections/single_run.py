"""The row of a run of which its own stream alone speaks, as most runs are: a rebuild needs no other stream to write it.

Projections of one read model prepare a stream one after the other, and their rows are written one after the other. So
`run_list`, which comes first, hands the row on to `run_values`: where it is worked out, and where it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias, cast

from runicorn.plugin import Stream, Tables

Row: TypeAlias = tuple[Any, ...]
"""A row of `run`, in the order of the columns that `run_list` writes."""

_ROWS = "single_run"


class SingleRun:
    """What is known of a stream that is being prepared."""

    def __init__(self) -> None:
        self.row: Row | None = None
        """None: not known yet, or it is for `merge` to write."""
        self.summary: Mapping[str, Any] = {}
        """What the row has as JSON."""
        self.last_ts: float | None = None
        """Time of the last event."""

    def take(self) -> tuple[Row | None, Mapping[str, Any], float | None]:
        """All three; nothing is known then."""
        taken = self.row, self.summary, self.last_ts
        self.row, self.summary, self.last_ts = None, {}, None
        return taken


@lru_cache(maxsize=64)  # short streams are prepared some at a time
def single_run(stream: Stream) -> SingleRun:
    """The same for all projections that prepare this stream now."""
    return SingleRun()


def rows_to_write(tables: Tables) -> dict[str, int]:
    """The ids of the runs whose rows are written with this transaction, by their keys."""
    return cast("dict[str, int]", tables.memory.setdefault(_ROWS, {}))
