"""What a history says: one entry per event, with the changes that the event made."""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec

from runicorn.fields import without_surrogates

_MOST_CHARACTERS = 2000
_MOST_INTEGER = 1 << 63


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field that an event changed. What has no value is null."""

    field: str
    """Such as `status`, `tags`, `summary.loss`, `v3.stage`, `alias.best`."""
    before: Any
    after: Any
    is_before_known: bool = True
    """False where the event before this one is too far back to be looked for; `before` is null, then."""


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who acted, as far as the event says so."""

    host: str | None = None
    pid: int | None = None
    user: str | None = None
    run_id: str | None = None
    """A run that acted on an artifact."""
    way: str | None = None
    """The way on which a command came in: `http`, `cli`, `sdk`, or `server` (of its own accord)."""
    source: str | None = None
    """The machine that a run was brought from: `user@host:port`."""


class HistoryEntry(msgspec.Struct, frozen=True):
    """One event of a history."""

    ts: float | None
    """When it became true, in Unix seconds on the clock of whoever says so."""
    time: str | None
    """The same in ISO 8601, in UTC."""
    stream: str
    offset: int
    """With the stream's name, the identity of the event."""
    type: str
    origin: str
    """Where the event comes from: `process` (a training process, or a program that changes artifacts), `command` (on a run),
    `observed` (files that others wrote), `server` (judged or brought by a server), or `other`."""
    who: Who | None
    """Null where the event says nothing of it."""
    what: str
    """What happened, in words."""
    changes: list[FieldChange]


def presentable(entry: HistoryEntry) -> HistoryEntry:
    """The entry with texts and values that every JSON reader accepts, none of them longer than about 2000 characters."""
    changes = [
        FieldChange(
            _text(change.field),
            presentable_value(change.before),
            presentable_value(change.after),
            change.is_before_known,
        )
        for change in entry.changes
    ]
    who = entry.who
    if who is not None:
        shown = {name: presentable_value(getattr(who, name)) for name in who.__struct_fields__}
        who = msgspec.structs.replace(who, **shown)
    return msgspec.structs.replace(entry, type=_text(entry.type), who=who, what=_text(entry.what), changes=changes)


def presentable_value(value: object) -> Any:
    """A value as `presentable` leaves it."""
    clean = _clean(value)
    if isinstance(clean, (list, dict)):
        encoded = msgspec.json.encode(clean).decode()
        return clean if len(encoded) <= _MOST_CHARACTERS else _text(encoded)
    return clean


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -_MOST_INTEGER <= value < _MOST_INTEGER:
        return _text(hex(value))
    if isinstance(value, list):
        return [_clean(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {str(_clean(key)): _clean(item) for key, item in items}
    return value


def _text(text: str) -> str:
    """Without lone surrogates, and not too long."""
    clean = without_surrogates(text)
    return clean if len(clean) <= _MOST_CHARACTERS else f"{clean[:_MOST_CHARACTERS]}…"
