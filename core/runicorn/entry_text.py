"""One entry of a JSON object that `files.as_file` wrote, found and changed in its text, whatever else is in it.

Parsing and writing a hundred thousand entries for the sake of one takes seconds; finding one takes milliseconds. It relies on
the layout: a key of the outer object stands on a line of its own behind two spaces, and no string holds a raw newline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from runicorn.files import as_file, parse_json

MISSING: object = object()
"""Instead of an entry: there is none, or there is to be none."""

_EMPTY = b"{}"
_END = b"\n}"


def entry_in(text: bytes, key: str) -> object:
    """The value of a key, or MISSING. ValueError if the text is not laid out as expected."""
    found = _find(text, key)
    return MISSING if found is None else parse_json(text[found[1] : found[2]])


def with_entries(text: bytes, changes: Mapping[str, object]) -> bytes:
    """The text with other values for some keys; MISSING removes one, and new ones come last, as in a dictionary.

    ValueError if the text is not laid out as expected.
    """
    for key, value in changes.items():
        text = _with_entry(text, key, value)
    return text


def _with_entry(text: bytes, key: str, value: object) -> bytes:
    found = _find(text, key)
    if value is MISSING:
        return text if found is None else _without(text, found[0], found[2])
    indented = as_file(value).replace(b"\n", b"\n  ")
    if found is not None:
        return b"".join((text[: found[1]], indented, text[found[2] :]))
    if text == _EMPTY:
        return b"".join((b"{", _key(key), indented, _END))
    if not text.endswith(_END):
        raise ValueError("not laid out as expected")
    return b"".join((text[: -len(_END)], b",", _key(key), indented, _END))


def _without(text: bytes, start: int, end: int) -> bytes:
    if text[end : end + 1] == b",":
        return text[:start] + text[end + 1 :]
    if text[start - 1 : start] == b",":
        return text[: start - 1] + text[end:]
    return _EMPTY


def _find(text: bytes, key: str) -> tuple[int, int, int] | None:
    """Where the line of a key begins (with the newline before it), where its value does, and where that ends."""
    wanted = _key(key)
    start = text.find(wanted)
    if start < 0:
        return None
    value = start + len(wanted)
    closing = {b"{\n": b"\n  }", b"[\n": b"\n  ]"}.get(text[value : value + 2])
    end = text.find(b"\n" if closing is None else closing, value)
    if end < 0:
        raise ValueError("not laid out as expected")
    if closing is not None:
        return start, value, end + len(closing)
    return start, value, end - text[value:end].endswith(b",")


def _key(key: str) -> bytes:
    return b"\n  " + json.dumps(key, ensure_ascii=False).encode() + b": "
