"""How located events are printed: one line each, for people or as JSON."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from runicorn.cli.json_output import without_controls
from runicorn.cli.table import clean

if TYPE_CHECKING:
    from runicorn.events.log import LocatedEvent

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def print_events(located: Iterable[LocatedEvent], as_json: bool) -> None:
    """Print each as it comes."""
    for one in located:
        click.echo(_as_json(one) if as_json else _as_line(one))
        if as_json or not sys.stdout.isatty():
            sys.stdout.flush()


def counted(number: int, what: str) -> str:
    """`1 stream`, `2 streams`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _as_json(one: LocatedEvent) -> str:
    from runicorn.events.envelope import decode_data
    from runicorn.files import dump_json

    ts = one.event.ts if one.event.ts == one.event.ts else None
    record: dict[str, Any] = {
        "stream": one.stream.name,
        "offset": one.offset,
        "ts": ts,
        "type": one.event.type,
        "data": decode_data(one.event),
    }
    return without_controls(dump_json(record).decode())


def _as_line(one: LocatedEvent) -> str:
    time_text, kind = clock(one.event.ts), clean(one.event.type)
    data = bytes(one.event.data).decode("utf-8", "replace")
    line = f"{time_text}  {kind:<16} {clean(f'{one.stream.name}@{one.offset}  {data}')}"
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    line = line if len(line) <= width else line[: width - 1] + "…"
    return _coloured(line, len(time_text), len(kind)) if _has_colours() else line


def _coloured(line: str, time_end: int, kind_length: int) -> str:
    """A line that is cut already, with colours for its time and its type."""
    begin, end = time_end + 2, time_end + 2 + kind_length
    time_text, kind = click.style(line[:time_end], dim=True), click.style(line[begin:end], fg="cyan")
    return f"{time_text}{line[time_end:begin]}{kind}{line[end:]}"


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clock(ts: float) -> str:
    """Local time to the second; question marks for what no calendar has."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts)) if 0 <= ts < 1 << 35 else "?" * 19
