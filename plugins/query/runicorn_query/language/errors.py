"""What is wrong with a query, and where."""

from __future__ import annotations

from runicorn.plugin import BadInput, shown

_AROUND = 50


class InvalidQuery(BadInput):
    """The query cannot be understood. The text shows the place; `column` counts characters from 1."""

    def __init__(self, reason: str, query: str, column: int) -> None:
        self.reason = reason
        self.column = column
        self.pointer = _pointer(query, column)
        """The part of the query around the place, and below it a caret: two lines."""
        super().__init__(self.about("q"))

    def about(self, parameter: str) -> str:
        """The text, for what the query is given by."""
        return f"Invalid value for {parameter}: {self.reason} (column {self.column})\n{self.pointer}"


def quoted(text: str) -> str:
    """A part of the query as a message repeats it."""
    clean = shown(text)
    return f"`{clean if len(clean) <= _AROUND else f'{clean[:_AROUND]}…'}`"


def _pointer(query: str, column: int) -> str:
    at = column - 1
    start = max(0, at - _AROUND)
    line = "".join(c if c.isprintable() else " " for c in query[start : at + _AROUND])
    before, after = "…" * (start > 0), "…" * (at + _AROUND < len(query))
    return f"{before}{line}{after}\n{' ' * (len(before) + at - start)}^"
