"""What the hooks of a plugin may return, checked where it comes in: what cannot be used disables the plugin.

Checking says what is wrong in the words of whoever writes the plugin. Without it, the same mistakes would show somewhere
else, as failures of the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, cast

import msgspec

MOST = 1000
"""Things that one hook of one plugin may contribute."""

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_LIMIT = re.compile(r"[A-Z]+ /\S*")
_KINDS = frozenset({"run", "artifact", "store"})
_LONGEST = 200


class NotUsable(TypeError):
    """A hook returned what it must not; the text says what."""


def checked(hook: str, returned: object) -> Any:
    """What a hook returned, where several things are asked for as a list. NotUsable."""
    if hook == "rate_limits":
        return _rate_limits(returned)
    check = _CHECKS.get(hook)
    if check is None:
        return returned
    if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
        raise NotUsable(f"returned {_kind(returned)}, not a list")
    items = list(islice(cast(Iterable[object], returned), MOST + 1))
    if len(items) > MOST:
        raise NotUsable(f"returned more than {MOST} things")
    names: set[str] = set()
    for item in items:
        name = check(item)
        if name is not None and name in names:
            raise NotUsable(f"returned two with the name {name}")
        names.add(name or "")
    return items


def checked_event(told: object) -> tuple[float | None, Any]:
    """What a source says, `(time, payload)`. NotUsable."""
    from runicorn.events.envelope import Payload

    if not isinstance(told, tuple) or len(cast(tuple[object, ...], told)) != 2:
        raise NotUsable(f"said {_kind(cast(object, told))}, not a pair of time and payload")
    ts, payload = cast(tuple[object, object], told)
    if ts is not None and (isinstance(ts, bool) or not isinstance(ts, int | float)):
        raise NotUsable(f"said {_kind(ts)} for a time")
    if not isinstance(payload, Payload):
        raise NotUsable(f"said {_kind(payload)} for a payload")
    _event_type(type(payload))
    try:
        msgspec.json.encode(payload)
    except (TypeError, ValueError) as error:
        raise NotUsable(f"said a {type(payload).event_type} that is not JSON: {error}") from None
    return ts, payload


def _event_type(item: object) -> str:
    from runicorn.events.envelope import Payload

    if not isinstance(item, type) or not issubclass(item, Payload):
        raise NotUsable(f"returned {_kind(item)}, not a subclass of Payload")
    name = getattr(item, "event_type", None)
    if not isinstance(name, str) or len(name) > _LONGEST or not _EVENT_TYPE.fullmatch(name):
        raise NotUsable(f"{item.__name__} has the event_type {_shown(name)}: it is like alert.raised")
    return name


def _projection(item: object) -> str:
    name = _name(item, "projection")
    version, schema, streams = (getattr(item, field, None) for field in ("version", "schema", "streams"))
    if isinstance(version, bool) or not isinstance(version, int):
        raise NotUsable(f"the projection {name} has the version {_shown(version)}: it is a whole number")
    if not isinstance(schema, str):
        raise NotUsable(f"the projection {name} has no schema")
    if not isinstance(streams, frozenset | set) or not cast("set[object]", streams) <= _KINDS:
        raise NotUsable(f"the projection {name} has the streams {_shown(streams)}: a frozenset of {sorted(_KINDS)}")
    _has_methods(item, name, "apply", "forget")
    return name


def _source(item: object) -> str:
    name = _name(item, "source")
    if callable(getattr(item, "observe_artifact", None)):
        _has_methods(item, name, "signature", "known_artifacts")
        return name
    _has_methods(item, name, "observe")
    for field in ("files", "root_files"):
        files = getattr(item, field, None if field == "files" else frozenset[str]())
        if not isinstance(files, frozenset | set) or not all(isinstance(file, str) for file in cast("set[Any]", files)):
            raise NotUsable(f"the source {name} has the {field} {_shown(files)}: a frozenset of names")
    return name


def _command(item: object) -> str:
    import click

    if not isinstance(item, click.Command):
        raise NotUsable(f"returned {_kind(item)}, not a click command")
    if not isinstance(item.name, str) or not re.fullmatch(r"[A-Za-z0-9_][\w-]*", item.name):
        raise NotUsable(f"a command has the name {_shown(item.name)}")
    return item.name


def _subjects(item: object) -> None:
    """One kind of subject; kinds have no names."""
    _has_methods(item, type(item).__name__, "find")


def _route(item: object) -> None:
    """What can be a route, the web framework decides."""
    if item is None or isinstance(item, str | bytes | int | float):
        raise NotUsable(f"returned {_kind(item)}, not a route handler")


def _rate_limits(returned: object) -> dict[str, int]:
    if not isinstance(returned, Mapping):
        raise NotUsable(f"returned {_kind(returned)}, not a mapping")
    limits = dict(islice(cast(Mapping[object, object], returned).items(), MOST + 1))
    if len(limits) > MOST:
        raise NotUsable(f"returned more than {MOST} things")
    for key, count in limits.items():
        if not isinstance(key, str) or not _LIMIT.fullmatch(key):
            raise NotUsable(f"{_shown(key)} is no route: they are like GET /api/path/{{parameter}}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise NotUsable(f"{_shown(count)} requests to {key} are no limit: it is a whole number above 0")
    return cast(dict[str, int], limits)


_CHECKS: dict[str, Callable[[object], str | None]] = {
    "event_types": _event_type,
    "projections": _projection,
    "sources": _source,
    "routes": _route,
    "commands": _command,
    "subjects": _subjects,
}


def _name(item: object, what: str) -> str:
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not name.isidentifier() or len(name) > _LONGEST:
        raise NotUsable(f"a {what} has the name {_shown(name)}: letters, digits and `_` only")
    return name


def _has_methods(item: object, name: str, *methods: str) -> None:
    for method in methods:
        if not callable(getattr(item, method, None)):
            raise NotUsable(f"{name} has no method {method}")


def _kind(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
