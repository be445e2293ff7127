"""Query strings as the contract of 0.4.0 reads them, for every route alike.

Booleans have many spellings, integers and floats few; an empty value counts as absent; of a repeated parameter the last
one counts. The framework's own rules differ in each of these, so a query string is rewritten before it sees it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from types import NoneType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec

from runicorn.errors import BadInput, shown

Kind = Literal["bool", "int", "float", "list", "other"]

_TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
_FALSE = frozenset({"false", "0", "no", "off", "f", "n"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_EXPECTED = {"bool": "must be true or false", "int": "must be an integer", "float": "must be a finite number"}
_RESERVED = frozenset({"data", "request", "socket", "scope", "state", "headers", "cookies", "query", "body"})


class QueryRules(msgspec.Struct, frozen=True):
    """The query parameters that one route declares."""

    kinds: dict[str, Kind]
    keep_empty: frozenset[str] = frozenset()
    """Parameters whose empty value reaches the handler."""

    @classmethod
    def of(
        cls,
        signature: Mapping[str, Any],
        template: str,
        dependencies: Container[str] = (),
        keep_empty: Iterable[str] = (),
    ) -> QueryRules | None:
        """From a handler's signature, as Litestar has parsed it; None if it declares no query parameter.

        `dependencies` are the names of parameters that the application provides.
        """
        kinds: dict[str, Kind] = {}
        for name, field in signature.items():
            parameter = field.kwarg_definition
            where = getattr(getattr(parameter, "param_type", None), "value", None)
            is_provided = name in _RESERVED or name in dependencies
            is_plain = parameter is None and not is_provided and f"{{{name}" not in template
            if where == "query" or is_plain:
                alias = getattr(parameter, "query", None) or getattr(parameter, "name", None) or name
                kinds[alias] = _kind(field)
        return cls(kinds, frozenset(keep_empty)) if kinds else None

    def apply(self, query_string: bytes) -> bytes:
        """The query string that says the same in the framework's own terms. BadInput names every wrong value."""
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
        values: dict[str, list[str]] = {}
        errors: list[tuple[str, str]] = []
        for name, value in pairs:
            kind = self.kinds.get(name, "other")
            if kind == "list":
                values.setdefault(name, []).append(value)
            elif value or name in self.keep_empty:
                values[name] = [value]
            else:
                values.pop(name, None)  # the last one counts, and it is empty
        for name, given in values.items():
            read = _read(self.kinds.get(name, "other"), given[0]) if len(given) == 1 else given[0]
            if read is None:
                errors.append((name, _EXPECTED[self.kinds[name]]))
            elif len(given) == 1:
                values[name] = [read]
        if errors:
            name, reason = errors[0]
            raise BadInput(f"Invalid value for {shown(name)}: {reason}", errors)
        return urlencode(values, doseq=True).encode()


def read_boolean(text: str) -> bool | None:
    """`true 1 yes on t y` and `false 0 no off f n` in any case; None for anything else."""
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


def _read(kind: Kind, text: str) -> str | None:
    """`text` in canonical form; None if it is not of this kind."""
    match kind:
        case "bool":
            value = read_boolean(text)
            return None if value is None else str(value).lower()
        case "int":
            return str(int(text)) if _INTEGER.fullmatch(text) else None
        case "float":
            return repr(float(text)) if _DECIMAL.fullmatch(text) and math.isfinite(float(text)) else None
        case _:
            return text


def _kind(field: Any) -> Kind:
    if field.is_non_string_sequence:
        return "list"
    types = {field.annotation}
    if field.is_optional:
        types = {inner.annotation for inner in field.inner_types} - {None, NoneType}
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
    return kinds.get(types.pop(), "other") if len(types) == 1 else "other"
