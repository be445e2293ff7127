"""Table layouts in the user's `ui_preferences.json`: `{"column_widths": {"<table>@<size>": {"widths": {…}, …}}}`.

What is in the file may be of another version, or of another program: what cannot be used counts as absent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.plugin import BadInput, change_json, config_file, number, read_config, shown

MAX_LAYOUTS = 500
MAX_COLUMNS = 200
MAX_WIDTH = 10_000

_MAX_NAME = 64
_MAX_COLUMN_NAME = 256
_LAYOUTS = "column_widths"


class Place(msgspec.Struct, frozen=True):
    """A table at a window size."""

    table: str
    size: str

    @classmethod
    def check(cls, table: str, size: str) -> Place:
        """BadInput if either is not legal."""
        return cls(check_table(table), check_size(size))

    @property
    def key(self) -> str:
        """In the file. The table may contain `@`, the size may not."""
        return f"{self.table}@{self.size}"


def check_table(table: str) -> str:
    """`table`, or BadInput."""
    if not 0 < len(table) <= _MAX_NAME:
        raise BadInput(f"Invalid value for table: must have 1 to {_MAX_NAME} characters")
    return table


def check_size(size: str) -> str:
    """`size`, or BadInput."""
    if not 0 < len(size) <= _MAX_NAME or "@" in size:
        raise BadInput(f"Invalid value for size: must have 1 to {_MAX_NAME} characters, without @")
    return size


def check_widths(widths: Mapping[str, object]) -> dict[str, int]:
    """Widths as whole pixels; BadInput if one is no finite number, or there are too many."""
    if len(widths) > MAX_COLUMNS:
        raise BadInput(f"Invalid value for widths: at most {MAX_COLUMNS} columns")
    checked: dict[str, int] = {}
    for column, width in widths.items():
        if len(column) > _MAX_COLUMN_NAME:
            raise BadInput(f"Invalid value for widths: a column has at most {_MAX_COLUMN_NAME} characters")
        pixels = _pixels(width)
        if pixels is None:
            raise BadInput(f"Invalid value for widths: the width of {shown(column)!r} must be a finite number")
        checked[column] = min(max(pixels, 0), MAX_WIDTH)
    return checked


def check_window(value: object, what: str) -> int | None:
    """A window's width or height as whole pixels, None if it is not told; BadInput if it is no finite number."""
    pixels = _pixels(value)
    if value is not None and pixels is None:
        raise BadInput(f"Invalid value for {what}: must be a finite number")
    return pixels


def read(place: Place) -> dict[str, int]:
    """The widths of a layout; empty if there is none."""
    layout = _layouts(read_config(_file())).get(place.key)
    widths = cast(dict[str, Any], layout).get("widths") if isinstance(layout, dict) else None
    if not isinstance(widths, dict):
        return {}
    found = {column: number(width) for column, width in cast(dict[str, object], widths).items()}
    return {column: min(max(round(width), 0), MAX_WIDTH) for column, width in found.items() if width is not None}


def save(place: Place, widths: Mapping[str, int], window_width: int | None, window_height: int | None) -> None:
    """Store a layout in place of the earlier one; of more than 500 the oldest go. NotSaved."""

    def change(content: dict[str, Any]) -> None:
        layouts = content[_LAYOUTS] = _layouts(content)
        layouts[place.key] = {
            "widths": dict(widths),
            "window_width": window_width,
            "window_height": window_height,
            "updated_at": time.time(),
        }
        others = sorted((key for key in layouts if key != place.key), key=lambda key: _updated_at(layouts[key]))
        for key in others[: max(0, len(layouts) - MAX_LAYOUTS)]:
            del layouts[key]

    change_json(_file(), change, is_sound=_is_sound)


def reset(table: str, size: str | None) -> None:
    """Forget one layout of a table, or all. NotSaved."""

    def is_meant(key: str) -> bool:
        its_table, at, its_size = key.rpartition("@")
        return bool(at) and its_table == table and size in (None, its_size)

    if not any(map(is_meant, _layouts(read_config(_file())))):
        return

    def change(content: dict[str, Any]) -> None:
        layouts = _layouts(content)
        content[_LAYOUTS] = {key: layout for key, layout in layouts.items() if not is_meant(key)}

    change_json(_file(), change, is_sound=_is_sound)


def _file() -> Path:
    return config_file().with_name("ui_preferences.json")


def _layouts(content: dict[str, Any]) -> dict[str, Any]:
    layouts = content.get(_LAYOUTS)
    return cast(dict[str, Any], layouts) if isinstance(layouts, dict) else {}


def _is_sound(content: dict[str, Any]) -> bool:
    layouts = content.get(_LAYOUTS, {})
    return isinstance(layouts, dict) and all(
        isinstance(layout, dict) for layout in cast(dict[str, object], layouts).values()
    )


def _updated_at(layout: object) -> float:
    updated = number(cast(dict[str, Any], layout).get("updated_at")) if isinstance(layout, dict) else None
    return -math.inf if updated is None else updated


def _pixels(value: object) -> int | None:
    """A number, or one in a string, rounded; None for anything else."""
    if isinstance(value, str) and "_" not in value:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value) if isinstance(value, int) or math.isfinite(value) else None
