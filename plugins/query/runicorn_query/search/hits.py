"""What a search answers."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from runicorn_query.search.needle import Needle

Kind = Literal["name", "project", "tag", "description", "note", "id", "log"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SNIPPET = 240
_BEFORE = 60


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or a line of its log, that holds the text."""

    kind: Kind
    """Where it was found. Of the attributes of a run only the first that holds it is given."""
    run_id: str
    project: str | None
    name: str | None
    status: str
    created_at: float | None
    snippet: str
    """The attribute or line, cut to 240 characters around the text."""
    highlights: list[tuple[int, int]]
    """Where the text is in `snippet`, in characters: from, and up to."""
    line: int | None = None
    """Number of the line, from 1; null if it is no log."""
    offset: int | None = None
    """Where the line begins in `logs.txt`, in bytes."""
    clock: str | None = None
    """`HH:MM:SS`, from the line or the last one before it that has a time."""
    time: float | None = None
    """Unix seconds: `clock` on a date worked out from the run's creation and the midnights in the log."""


class LogsState(msgspec.Struct, frozen=True):
    """The index of logs. While it is `building`, some are not searched yet."""

    state: Literal["ready", "building", "missing", "off"]
    files: int = 0
    log_bytes: int = 0
    index_bytes: int = 0
    left_out: int = 0
    """Logs that are not searched, because the index would become too large."""


class SearchAnswer(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/search`: runs first, then lines of logs, each the newest first."""

    query: str
    hits: list[Hit]
    next: str | None
    """The `cursor` of the next page; null at the end."""
    truncated: bool
    """Whether the search stopped before it had `limit` hits because it took too long; `next` goes on."""
    logs: LogsState
    query_time_ms: float


def snippet_of(text: str, needle: Needle) -> tuple[str, list[tuple[int, int]]]:
    """A part of a text with the first place of the needle in it, and all places in that part."""
    places = needle.places(text)
    if len(text) > _SNIPPET and places:
        start = max(0, min(places[0][0] - _BEFORE, len(text) - _SNIPPET))
        end = max(start + _SNIPPET, places[0][1])
        before = "…" if start else ""
        text = f"{before}{text[start:end]}{'…' if end < len(text) else ''}"
        shift = start - len(before)
        places = [(first - shift, last - shift) for first, last in places if first >= start and last <= end]
    return text, places
