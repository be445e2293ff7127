"""The bar that long commands show."""

from __future__ import annotations

import io
import sys

import pytest

from runicorn.cli.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_how_much_it_will_be_is_asked_only_where_there_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    asked: list[int] = []

    def total() -> int:
        asked.append(1)
        return 10

    with progress_bar("Counting", total) as advance:
        advance(3)
    assert asked == [1] * is_terminal
    assert bool(stream.getvalue()) == is_terminal
