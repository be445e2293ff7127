"""`GET`, `POST`, `DELETE /api/config/column-widths`: table layouts of the web interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post
from litestar.params import FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import WrongFields
from runicorn_system import column_widths

PATH = "/api/config/column-widths"


class Layout(msgspec.Struct, frozen=True):
    """The column widths of a table at a window size, in pixels; empty if none are stored."""

    table: str
    size: str
    widths: dict[str, int]


class NewLayout(msgspec.Struct, frozen=True):
    """A layout to store in place of the one for the same table and size."""

    table: str
    size: str
    widths: Annotated[dict[str, Any], msgspec.Meta(description="Column → width; numbers, or numbers as strings.")]
    window_width: float | int | str | None = None
    window_height: float | int | str | None = None


class Stored(msgspec.Struct, frozen=True):
    """It is done."""

    ok: bool
    message: str


@get(
    PATH,
    operation_id="get_column_widths",
    sync_to_thread=True,
    checks={"table": column_widths.check_table, "size": column_widths.check_size},
)
def get_column_widths(table: FromQuery[str], size: FromQuery[str]) -> Layout:
    """The layout of a table at a window size."""
    return Layout(table, size, column_widths.read(column_widths.Place.check(table, size)))


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "table": column_widths.check_table,
    "size": column_widths.check_size,
    "widths": column_widths.check_widths,
    "window_width": lambda width: column_widths.check_window(width, "window_width"),
    "window_height": lambda height: column_widths.check_window(height, "window_height"),
}


@post(PATH, operation_id="save_column_widths", status_code=HTTP_200_OK, sync_to_thread=True, checks=_CHECKS)
def save_column_widths(data: JSONBody[NewLayout]) -> Stored:
    """Store a layout. Widths are rounded, and clamped to 0…10000."""
    wrong = WrongFields()
    checked = {name: wrong.of(name, check, getattr(data, name)) for name, check in _CHECKS.items()}
    wrong.refuse()
    place = column_widths.Place(checked["table"], checked["size"])
    column_widths.save(place, checked["widths"], checked["window_width"], checked["window_height"])
    return Stored(True, "Column width preferences saved")


@delete(PATH, operation_id="reset_column_widths", status_code=HTTP_200_OK, sync_to_thread=True)
def reset_column_widths(table: FromQuery[str], size: FromQuery[str | None] = None) -> Stored:
    """Forget the layouts of a table: of one window size, or of all."""
    column_widths.reset(column_widths.check_table(table), None if size is None else column_widths.check_size(size))
    return Stored(True, "Column width preferences reset")
