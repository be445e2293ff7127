"""What the rows of a read model say, without the numbers that only this file gives: to compare two files.

Two files of the same projections that hold the same events say the same, but number streams in the order in which these
were discovered. A column `stream_id` is read as the name of the stream, the number of a row (`id`) is left out. A projection
with other such columns says how its tables are to be read: it has `meanings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import apsw

from runicorn.projection.base import Projection

Value = int | float | str | bytes | None
Values = tuple[Value, ...]

NOT_COMPARED = frozenset({"meta", "counter", "stream"})
"""Tables of every file; what there is to compare of `stream` is said by `STREAMS`."""


class Meaning(NamedTuple):
    """How one table is read."""

    sql: str
    """A SELECT whose rows ascend by their first columns."""
    keys: int = 1
    """How many columns say which row it is."""
    fold: Callable[[Iterator[Values]], Iterator[Values]] | None = None
    """Puts rows together that may be cut in another way in another file; keeps the order."""
    is_same: Callable[[Values, Values], bool] | None = None
    """Whether two rows that have the same key, and are not equal, say the same nevertheless."""


STREAMS = Meaning("SELECT name, offset, bad FROM stream ORDER BY name")
"""How far each stream was applied, and how many of its lines are no events."""


@runtime_checkable
class HasMeanings(Protocol):
    """A projection with tables that hold numbers of this file, other than `stream_id` and `id`."""

    @property
    def meanings(self) -> Mapping[str, Meaning | None]:
        """By table; None: it says nothing that others do not say, and is not compared."""
        ...


def meanings_of(db: apsw.Connection, projections: Iterable[Projection]) -> dict[str, Meaning]:
    """How every table of a file is read, by name."""
    said: dict[str, Meaning | None] = {}
    for projection in projections:
        if isinstance(projection, HasMeanings):
            said.update(projection.meanings)
    found: dict[str, Meaning] = {}
    for table in tables_of(db):
        meaning = said[table] if table in said else _usual(db, table)
        if meaning is not None:
            found[table] = meaning
    return found


def tables_of(db: apsw.Connection) -> list[str]:
    """The tables that projections made: those of the framework, of SQLite, and those behind virtual tables left out."""
    rows = db.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main' ORDER BY name").fetchall()
    names = [str(name) for name, kind in rows if kind in ("table", "virtual")]
    return [name for name in names if name not in NOT_COMPARED and not name.startswith("sqlite_")]


def _usual(db: apsw.Connection, table: str) -> Meaning:
    rows = db.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (table,)).fetchall()
    primary = [str(name) for name, place in sorted(rows, key=lambda row: row[1]) if place]  # type: ignore[arg-type]  # PRAGMA gives integers
    is_numbered = primary == ["id"]
    columns = [str(name) for name, _ in rows if not (is_numbered and name == "id")]
    keys = [name for name in primary if name in columns] or columns
    ordered = [*keys, *(name for name in columns if name not in keys)]
    selected = ", ".join(_read_as(name) for name in ordered)
    join = " LEFT JOIN stream AS s ON s.id = t.stream_id" if "stream_id" in columns else ""
    order = ", ".join(f"{place} COLLATE BINARY" for place in range(1, len(keys) + 1))  # as Python compares texts
    return Meaning(f"SELECT {selected} FROM {_quoted(table)} AS t{join} ORDER BY {order}", len(keys))


def _read_as(column: str) -> str:
    return "s.name AS stream" if column == "stream_id" else f"t.{_quoted(column)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def place_of(key: Sequence[Value]) -> tuple[tuple[int, Value], ...]:
    """Compares as SQLite orders: nothing, then numbers, then texts, then bytes."""
    return tuple((0, 0) if part is None else (_CLASSES[type(part)], part) for part in key)


_CLASSES: Mapping[type, int] = {int: 1, float: 1, str: 2, bytes: 3}
