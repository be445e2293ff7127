"""What readers look for in the files that 0.4.0 and our SDK keep beside the streams, and what it has to be.

A field may be absent or null everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from runicorn.fields import integer, number, text
from runicorn.run_files import (
    ARTIFACTS_CREATED_FILE,
    ARTIFACTS_USED_FILE,
    DELETED_FILE,
    ENVIRONMENT_FILE,
    META_FILE,
    STATUS_FILE,
    SUMMARY_FILE,
)

Check = Callable[[Any], str | None]
"""What is wrong with a value; None if nothing is."""

VERSIONS_FILE = "versions.json"
MANIFEST_FILE = "manifest.json"


def _text(value: Any) -> str | None:
    return None if text(value) is not None else "not a text"


def _number(value: Any) -> str | None:
    return None if number(value) is not None else "not a finite number"


def _integer(value: Any) -> str | None:
    return None if integer(value) is not None else "not an integer of at most 64 bits"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "not true or false"


def _texts(value: Any) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in cast(list[object], value))
    return None if is_list else "not a list of texts"


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "not an object"


def _best_value(value: Any) -> str | None:
    if isinstance(value, float | bool) or number(value) is not None:  # NaN is what a diverging run may have
        return None
    try:
        return None if isinstance(value, str) and number(float(value)) is not None else "not a number"
    except ValueError:
        return "not a number"


def _list_of(fields: Mapping[str, Check], *required: str) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return "not a list"
        for place, entry in enumerate(cast(list[object], value)):
            if not isinstance(entry, dict):
                return f"entry {place} is not an object"
            missing = [name for name in required if cast(dict[str, Any], entry).get(name) is None]
            wrong = f"{missing[0]} is missing" if missing else next(wrong_fields(entry, fields), None)
            if wrong is not None:
                return f"entry {place}: {wrong}"
        return None

    return check


_ARTIFACT = {
    "name": _text,
    "type": _text,
    "version": _integer,
    "size_bytes": _integer,
    "created_at": _number,
    "used_at": _number,
}
_ARTIFACTS = {"artifacts": _list_of(_ARTIFACT, "name", "type", "version")}
_META = {
    **dict.fromkeys(("id", "project", "name", "python", "platform", "hostname", "storage_dir", "boot_id"), _text),
    **dict.fromkeys(("created_at", "pid_started_at"), _number),
    **dict.fromkeys(("pid", "pid_start_ticks", "pid_ns"), _integer),
}
_VERSION = {
    "version": _integer,
    "created_at": _number,
    "created_by_run": _text,
    "size_bytes": _integer,
    "num_files": _integer,
    "status": _text,
    "aliases": _texts,
}

RUN_FILES: Mapping[str, Mapping[str, Check]] = {
    META_FILE: _META,
    STATUS_FILE: {"status": _text, "started_at": _number, "ended_at": _number, "exit_reason": _text},
    SUMMARY_FILE: {"best_metric_value": _best_value, "best_metric_name": _text, "best_metric_mode": _text},
    DELETED_FILE: {"deleted_at": _number, "reason": _text, "original_status": _text},
    ENVIRONMENT_FILE: {},
    ARTIFACTS_CREATED_FILE: _ARTIFACTS,
    ARTIFACTS_USED_FILE: _ARTIFACTS,
}
"""The JSON files of a run directory, with the fields that readers look at. A field may be absent or null."""

VERSIONS: Mapping[str, Check] = {
    "versions": _list_of(_VERSION, "version"),
    "aliases": _object,
    "next_version": _integer,
    "created_at": _number,
    "updated_at": _number,
}
VERSION_FILES: Mapping[str, Mapping[str, Check]] = {
    "metadata.json": {
        **dict.fromkeys(("name", "type", "description", "created_by_run"), _text),
        "version": _integer,
        "size_bytes": _integer,
        "created_at": _number,
        "updated_at": _number,
    },
    MANIFEST_FILE: {},
    "lifecycle.json": {},
    DELETED_FILE: {"deleted_at": _number},
}
EXPERIMENT: Mapping[str, Check] = {
    "project": _text,
    "name": _text,
    "description": _text,
    "tags": _texts,
    "archived": _boolean,
    "pinned": _boolean,
    "created_at": _number,
    "updated_at": _number,
}


def wrong_fields(content: Any, fields: Mapping[str, Check]) -> Iterator[str]:
    """What is wrong with the fields of an object, one after the other."""
    for name, check in fields.items():
        value = content.get(name)
        reason = None if value is None else check(value)
        if reason is not None:
            yield f"{name}: {reason}"
