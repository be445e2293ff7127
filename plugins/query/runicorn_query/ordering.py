"""In which order runs are listed, and where a list goes on: `order_by`, `order_desc`, `cursor`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from runicorn.plugin import BadInput, shown
from runicorn_query.language import AttributeField, InvalidQuery, MetricField, parse_field, sort_term
from runicorn_query.language.sql import COLUMNS, FOLDED

if TYPE_CHECKING:
    import apsw

DEFAULT_ORDER = "created_at"
MAX_ORDER = 512
"""Characters of `order_by`."""

_TERMS: dict[str, Sequence[str]] = {
    "created_at": [COLUMNS["created"]],
    "created_time": [COLUMNS["created"]],
    "updated_at": [COLUMNS["updated"]],
    "started_at": [COLUMNS["started"]],
    "ended_at": [COLUMNS["ended"]],
    "duration_seconds": [COLUMNS["duration"]],
    "best_metric_value": [COLUMNS["best_metric"]],
    "best_metric_step": [COLUMNS["best_step"]],
    "metric_count": [COLUMNS["metric_count"]],
    "status": [FOLDED["status"], "b.status"],
    "project": [FOLDED["project"], "b.project"],
    "name": [FOLDED["name"], "b.name"],
    "id": [],
}
COLUMNS_SORTED = tuple(_TERMS)
"""What runs can be sorted by, besides `summary.KEY`, `config.KEY` and the statistics of metrics."""
_FAMILIES = ("summary.", "config.", "metric.")
TIES = (FOLDED["id"], "b.run_id", "b.run")
"""What decides between runs with equal values: expressions about `run_brief b`."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last run of a page: the next one begins behind it, whatever was added meanwhile."""

    by: str
    descending: bool
    values: tuple[float | int | str | None, ...]
    """What the run is sorted by."""
    ties: tuple[str, str, int]
    """Its case-folded id, its id, its number."""

    def encode(self) -> str:
        """As clients are given it."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


class Order(msgspec.Struct, frozen=True):
    """A total order of all runs: nulls last in both directions, runs with equal values by id in the same direction."""

    by: str = DEFAULT_ORDER
    descending: bool = True

    def __post_init__(self) -> None:
        if not is_sortable(self.by):
            raise BadInput(f"Invalid order_by: {shown(self.by)}")

    @property
    def field(self) -> MetricField | AttributeField | None:
        """The value that runs are sorted by, if it is one of `summary.KEY`, `config.KEY`, `metric.NAME.last`."""
        return _field(self.by)

    @property
    def is_newest_first(self) -> bool:
        """Whether an index has this order."""
        return self.descending and _TERMS.get(self.by) == _TERMS[DEFAULT_ORDER]

    def keys(self) -> tuple[list[str], dict[str, apsw.SQLiteValue]]:
        """Expressions about `run_brief b` that runs are sorted by, and their parameters; `ties` come behind them."""
        field = self.field
        if field is None:
            return list(_TERMS[self.by]), {}
        term, parameters = sort_term(field, "order")
        return [term], parameters

    def after(self, text: str | None) -> Cursor | None:
        """The cursor that a client sends back. BadInput if it is none, or one of another order."""
        if text is None:
            return None
        try:
            padded = text + "=" * (-len(text) % 4)
            cursor = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=Cursor)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise BadInput("Invalid value for cursor: must be the next_cursor of an earlier answer") from None
        if (cursor.by, cursor.descending) != (self.by, self.descending):
            raise BadInput("Invalid value for cursor: it belongs to another order_by or order_desc")
        if len(cursor.values) != len(self.keys()[0]) or not -(1 << 63) <= cursor.ties[2] < 1 << 63:
            raise BadInput("Invalid value for cursor: must be the next_cursor of an earlier answer")
        return cursor


def is_sortable(by: str) -> bool:
    """Whether runs can be sorted by this."""
    return by in _TERMS or _field(by) is not None


def _field(by: str) -> MetricField | AttributeField | None:
    if not by.startswith(_FAMILIES) or len(by) > MAX_ORDER:
        return None
    try:
        field = parse_field(by)
    except InvalidQuery:
        return None
    return field if isinstance(field, (MetricField, AttributeField)) else None


def sorted_by(keys: int, *, descending: bool) -> str:
    """For `ORDER BY` over columns `k0`, `k1`, … and `t0`, `t1`, `t2`."""
    direction = "DESC" if descending else "ASC"
    terms = [f"k{place} {direction} NULLS LAST" for place in range(keys)]
    return ", ".join([*terms, *(f"t{place} {direction}" for place in range(len(TIES)))])


def behind(cursor: Cursor) -> tuple[str, dict[str, apsw.SQLiteValue]]:
    """A condition over the same columns for what comes after a cursor."""
    sign = "<" if cursor.descending else ">"
    parameters: dict[str, apsw.SQLiteValue] = {f"after_t{place}": value for place, value in enumerate(cursor.ties)}
    ties = [f"t{place}" for place in range(len(TIES))]
    marks = [f":after_t{place}" for place in range(len(TIES))]
    if cursor.values and cursor.values[0] is None:
        return f"k0 IS NULL AND ({', '.join(ties)}) {sign} ({', '.join(marks)})", parameters
    keys = [f"k{place}" for place in range(len(cursor.values))]
    parameters |= {f"after_{key}": value for key, value in zip(keys, cursor.values, strict=True)}
    compared = f"({', '.join([*keys, *ties])}) {sign} ({', '.join([*(f':after_{key}' for key in keys), *marks])})"
    return f"({compared} OR k0 IS NULL)" if keys else compared, parameters
