"""Pages of positions, in the order of (time, stream name, offset), and what to go on with.

A page costs what it holds, however long the history is; only a filter by type looks at rows of other types in between.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Collection
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn.errors import BadInput
from runicorn.files import dump_json
from runicorn.history.positions import EventPositions, hash_of

_TABLES = (
    "SELECT p.at, s.name, p.offset, p.label FROM {name}_own AS p JOIN stream AS s ON s.id = p.stream_id"
    " WHERE p.stream_id = (SELECT id FROM stream WHERE name = :key)",
    "SELECT p.at, s.name, p.offset, p.label FROM {name}_store AS p JOIN stream AS s ON s.id = p.stream_id"
    " WHERE p.subject = :hash",
)


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last entry of a page: the next one begins behind it, whatever was added meanwhile."""

    newest_first: bool
    at: float
    stream: str
    offset: int

    def encode(self) -> str:
        """As clients are given it."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, *, newest_first: bool) -> Cursor:
        """The cursor that a client sends back. BadInput if it is none, or one of the other order."""
        try:
            padded = text + "=" * (-len(text) % 4)
            cursor = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=cls)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise BadInput("Invalid value for cursor: must be the next_cursor of an earlier answer") from None
        if not math.isfinite(cursor.at) or not 0 <= cursor.offset < 1 << 63:
            raise BadInput("Invalid value for cursor: must be the next_cursor of an earlier answer")
        if cursor.newest_first != newest_first:
            raise BadInput("Invalid value for cursor: it belongs to another order_desc")
        return cursor


class HistoryWanted(NamedTuple):
    """A page of a history."""

    limit: int
    newest_first: bool = True
    types: frozenset[str] = frozenset()
    """Only events of these types; all, if there are none."""
    after: Cursor | None = None


def history_wanted(types: str | None, *, newest_first: bool, limit: int, cursor: str | None) -> HistoryWanted:
    """From the parameters of a request; `types` is a comma list. BadInput if the cursor is none."""
    chosen = frozenset(name.strip() for name in (types or "").split(",") if name.strip())
    after = None if cursor is None else Cursor.decode(cursor, newest_first=newest_first)
    return HistoryWanted(limit, newest_first, chosen, after)


class Position(NamedTuple):
    """Where an event is, and what it is: `label` as `EventPositions` has it."""

    at: float
    stream: str
    offset: int
    label: str


def positions(
    db: apsw.Connection,
    index: EventPositions,
    key: str,
    wanted: HistoryWanted,
    labels: Collection[str] | None = None,
) -> list[Position]:
    """At most `wanted.limit` positions of events about the subject with this key, in the order that is wanted.

    `labels`, where they are given, count instead of `wanted.types`.
    """
    sign, order = ("<", "DESC") if wanted.newest_first else (">", "ASC")
    condition = ""
    parameters: dict[str, apsw.SQLiteValue] = {"key": key, "hash": hash_of(key), "limit": wanted.limit}
    if labels is not None or wanted.types:
        codes = index.codes_of(wanted.types) if labels is None else [index.code(label) for label in labels]
        condition += " AND p.label IN (SELECT value FROM json_each(:codes))"
        parameters["codes"] = dump_json(codes).decode()
    if wanted.after is not None:
        # The first comparison is what the primary key can find, the second decides between equal times.
        condition += f" AND p.at {sign}= :at AND (p.at, s.name, p.offset) {sign} (:at, :stream, :offset)"
        parameters |= {"at": wanted.after.at, "stream": wanted.after.stream, "offset": wanted.after.offset}
    found: list[Position] = []
    for table in _TABLES:
        rows = db.execute(
            f"{table.format(name=index.name)}{condition} ORDER BY p.at {order}, s.name {order}, p.offset {order}"
            " LIMIT :limit",
            parameters,
        )
        found += [
            Position(cast(float, at), str(name), cast(int, offset), index.decoded(cast("int | str", label)))
            for at, name, offset, label in rows
        ]
    return sorted(found, key=lambda it: (it.at, it.stream, it.offset), reverse=wanted.newest_first)[: wanted.limit]
