"""The row of a run of which its own stream alone speaks, as most runs are: a rebuild needs no other stream to write it.

Projections of one read model prepare a stream one after the other, and their rows are written one after the other. So
`run_list`, which comes first, hands the row on to `run_values`: where it is worked out, and where it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

from runicorn.plugin import Stream, Tables

Row: TypeAlias = tuple[Any, ...]
"""A row of `run`, in the order of the columns that `run_list` writes."""

_NOTED = "single_run"


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


class _Noted(NamedTuple):
    key: str
    run: int


def note_row(tables: Tables, key: str, run: int) -> None:
    """Say that the row of this run is written with this id."""
    tables.memory[_NOTED] = _Noted(key, run)


def noted_row(tables: Tables, key: str) -> int | None:
    """The id that was noted last, if it is that of this run."""
    noted = cast("_Noted | None", tables.memory.get(_NOTED))
    return noted.run if noted is not None and noted.key == key else None
