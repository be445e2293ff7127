"""Two files of the same projections, compared table by table and row by row. Constant memory: both are read in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import apsw
import msgspec

from runicorn.projection.meaning import Meaning, Value, Values, place_of

_MOST_TEXT = 160
_SHOWN_BYTES = 24


class Difference(msgspec.Struct, frozen=True):
    """One row that two files do not agree on."""

    table: str
    key: str
    """Which row: `run='p/n/runs/a'`."""
    found: str | None
    """What the read model says where it differs; None if it has no such row."""
    replayed: str | None
    """What the log says; None if there is no such row."""


def compare_table(
    table: str,
    meaning: Meaning,
    found: apsw.Connection,
    replayed: apsw.Connection,
    seen: Callable[[int], None] = lambda rows: None,
) -> Iterator[Difference]:
    """The rows of one table in which they differ, by key. `seen` is told of every row that was looked at."""
    columns, ours = _rows(meaning, found)
    same_columns, theirs = _rows(meaning, replayed)
    columns = columns or same_columns
    keys = meaning.keys
    our, their = next(ours, None), next(theirs, None)
    while our is not None or their is not None:
        seen(1)
        if our is not None and their is not None and our[:keys] == their[:keys]:
            if our != their and not (meaning.is_same is not None and meaning.is_same(our, their)):
                differing = [place for place in range(keys, len(our)) if our[place] != their[place]]
                yield Difference(
                    table,
                    _told(columns, our, range(keys)),
                    _told(columns, our, differing),
                    _told(columns, their, differing),
                )
            our, their = next(ours, None), next(theirs, None)
        elif their is None or (our is not None and place_of(our[:keys]) < place_of(their[:keys])):
            assert our is not None
            yield Difference(table, _told(columns, our, range(keys)), _told(columns, our, range(keys, len(our))), None)
            our = next(ours, None)
        else:
            yield Difference(
                table, _told(columns, their, range(keys)), None, _told(columns, their, range(keys, len(their)))
            )
            their = next(theirs, None)


def _rows(meaning: Meaning, db: apsw.Connection) -> tuple[list[str], Iterator[Values]]:
    cursor = db.execute(meaning.sql)
    try:
        columns = [str(name) for name, *_ in cursor.get_description()]
    except apsw.ExecutionCompleteError:  # no rows
        return [], iter(())
    rows: Iterator[Values] = iter(cursor)
    return columns, rows if meaning.fold is None else meaning.fold(rows)


def _told(columns: list[str], row: Values, places: list[int] | range) -> str:
    return ", ".join(f"{columns[place]}={_shown(row[place])}" for place in places) or "a row"


def _shown(value: Value) -> str:
    if isinstance(value, bytes):
        if len(value) <= _SHOWN_BYTES:
            return f"x'{value.hex()}'"
        return f"{len(value)} bytes with SHA-256 {hashlib.sha256(value).hexdigest()[:12]}…"
    text = "NULL" if value is None else repr(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text)} characters)"
