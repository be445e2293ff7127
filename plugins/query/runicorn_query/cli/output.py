"""How commands print: tables on a terminal, aligned plain text into a pipe, JSON on request."""

from __future__ import annotations

import math
import sys
import time

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runicorn.plugin import clean, print_json, table

__all__ = ["age", "clean", "console", "duration", "heading", "moment", "show", "show_json", "status", "table", "value"]

_AGES = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (86400 * 60, 86400, "d"))
_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "interrupted": "yellow"}


def console() -> Console:
    """Standard output; without colours and at full width where it is no terminal."""
    return (
        Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=10_000, color_system=None)
    )


def show(*parts: Table | Text | str) -> None:
    """Print tables and lines, one below the other."""
    out = console()
    for part in parts:
        if isinstance(part, str):
            click.echo(part)
        else:
            out.print(part, soft_wrap=isinstance(part, Text))


def show_json(value: object) -> None:
    """Print a value as JSON, indented."""
    print_json(value, indented=True)


def heading(text: str) -> Text:
    """A line above a part of the output."""
    return Text(text, style="bold")


def status(value: str, *, is_stale: bool = False) -> Text:
    """A run's status, in its colour."""
    return Text(f"{clean(value)} (stale)" if is_stale else clean(value), style=_STYLES.get(value, ""))


def value(item: object) -> str:
    """A number with six digits, text as it is, anything else as JSON."""
    if isinstance(item, str):
        return clean(item)
    if isinstance(item, float) and math.isfinite(item):
        return f"{item:.6g}"
    return "–" if item is None else clean(msgspec.json.encode(item).decode())


def moment(at: float | None) -> str:
    """Date and time in the time zone of this machine."""
    return "–" if at is None or not 0 <= at < 1 << 35 else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def age(at: float | None) -> str:
    """How long ago something was, roughly; a date if that was months ago."""
    if at is None:
        return "–"
    passed = time.time() - at
    for below, unit, name in _AGES:
        if passed < below:
            return f"{max(0, int(passed // unit))} {name} ago"
    return moment(at)[:10]


def duration(seconds: float | None) -> str:
    """Seconds, or `1:02:03`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
