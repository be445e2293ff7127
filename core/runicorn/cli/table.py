"""How commands print tables: drawn on a terminal, aligned plain text into a pipe."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table | str:
    """Rows under a header; as text, columns are parted by two blanks and nothing is cut."""
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        rich = Table(*(), box=None, pad_edge=False, header_style="bold")
        for column in columns:
            rich.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            rich.add_row(*(Text(clean(cell)) if isinstance(cell, str) else cell for cell in row))  # no markup
        return rich
    texts = [list(columns), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(_width(row[place]) for row in texts) for place in range(len(columns))]
    lines = (
        "  ".join(
            _padded(cell, width, right=column in right)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in texts
    )
    return "\n".join(lines)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table."""
    made = table(columns, rows)
    if isinstance(made, str):
        click.echo(made)
        return
    from rich.console import Console

    Console(highlight=False).print(made)


def clean(text: str) -> str:
    """Text without control characters: what is stored must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " if c in "\t\n\r" else "\ufffd" for c in text)


def _width(text: str) -> int:
    """Columns of a terminal; Chinese, Japanese and Korean characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def _padded(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
