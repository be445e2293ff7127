"""What is wrong with a JSON body, field by field and in words: the decoder stops at the first mistake and speaks of types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from runicorn.errors import BadInput, reason_of

_EXPECTED = re.compile(r"Expected `(?P<types>[^`]+)`(?P<limit> [^,]*)?(?:, got .*)?")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_PLACE = re.compile(r"(?P<message>.*?)(?: - at (?:`key` in )?`\$(?P<place>.*)`)?", re.DOTALL)
_WORDS = {
    "int": ["an integer"],
    "float": ["a number"],
    "str": ["a string"],
    "bool": ["true", "false"],
    "array": ["a list"],
    "object": ["an object"],
    "null": ["null"],
}
_LIMITS = {
    " >= ": "of at least",
    " <= ": "of at most",
    " > ": "more than",
    " < ": "less than",
    " of length >= ": "with a length of at least",
    " of length <= ": "with a length of at most",
    " of length ": "with a length of",
}
_NOT_ALLOWED = "not one of the allowed values"
REQUIRED = "required"


def wrong_fields(
    wanted: type[Any],
    body: Mapping[str, object],
    outer: str = "",
    checks: Mapping[str, Callable[[Any], object]] = {},
) -> list[tuple[str, str]]:
    """Every field of the struct `wanted` that `body` gets wrong, as (path, reason), in the order of the struct.

    `checks` are those that the handler makes of values that have the right type; they raise BadInput.
    """
    found: list[tuple[str, str]] = []
    for field in msgspec.structs.fields(wanted):
        path = f"{outer}{field.encode_name}"
        if field.encode_name not in body:
            if field.required:
                found.append((path, REQUIRED))
            continue
        value = body[field.encode_name]
        if isinstance(value, dict) and isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += wrong_fields(field.type, cast("dict[str, object]", value), f"{path}.")
            continue
        try:
            converted = msgspec.convert(value, field.type, strict=False, str_keys=True)
            checks.get(field.name, _accept)(converted)
        except msgspec.ValidationError as error:
            found.append(finding(path, str(error)))
        except BadInput as error:
            found.append((path, reason_of(path, error)))
    return found


def finding(path: str, text: str) -> tuple[str, str]:
    """The path and the reason of the decoder's message about the value at `path`."""
    parts = _PLACE.fullmatch(text)
    assert parts is not None  # the expression takes any text
    place = f"{path}{parts['place'] or ''}"
    missing = _MISSING.fullmatch(parts["message"])
    return (f"{place}.{missing[1]}".removeprefix("."), REQUIRED) if missing else (place, in_words(parts["message"]))


def found_wrong(text: str) -> str | None:
    """What the decoder found, such as `default.max_requests must be an integer`; None if it says something else."""
    place, reason = finding("", text)
    if reason == _NOT_ALLOWED:
        return None
    return f"{place.removeprefix('.') or 'the whole'} {'is missing' if reason == REQUIRED else reason}"


def in_words(message: str) -> str:
    """The decoder's message about one value, as people say it. The value itself is not repeated: it may be a secret."""
    expected = _EXPECTED.fullmatch(message)
    if expected is None:
        return "out of range" if message.endswith("out of range") else _NOT_ALLOWED
    types = expected["types"].split(" | ")
    if "float" in types and "int" in types:
        types.remove("int")
    # What is one word comes last: "a string, true or false".
    words = [word for name in sorted(types, key=lambda name: (name == "null", name == "bool")) for word in _words(name)]
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    return f"must be {text}{_limit(expected['limit'] or '')}"


def _accept(value: object) -> object:
    return value


def _words(name: str) -> list[str]:
    return _WORDS.get(name, [f"a {name}"])


def _limit(text: str) -> str:
    for sign, words in _LIMITS.items():
        if text.startswith(sign):
            return f" {words} {text.removeprefix(sign)}"
    return " of another form" if text else ""
