"""Query strings as the contract of 0.4.0 reads them, for every route alike.

Booleans have many spellings, integers and floats few; an empty value counts as absent; of a repeated parameter the last
one counts. The framework's own rules differ in each of these, so a query string is rewritten before it sees it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from types import NoneType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec

from runicorn.errors import BadInput, reason_of, shown

Kind = Literal["bool", "int", "float", "list", "other"]

_TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
_FALSE = frozenset({"false", "0", "no", "off", "f", "n"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_EXPECTED = {"bool": "must be true or false", "int": "must be an integer", "float": "must be a finite number"}
_RESERVED = frozenset({"data", "request", "socket", "scope", "state", "headers", "cookies", "query", "body"})


class Bounds(msgspec.Struct, frozen=True):
    """What a number must be; None: any."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def reason(self, value: float) -> str | None:
        """What is wrong with a number; None if it is within the bounds."""
        too_low = (self.least is not None and value < self.least) or (self.above is not None and value <= self.above)
        too_high = (self.most is not None and value > self.most) or (self.below is not None and value >= self.below)
        return self._text() if too_low or too_high else None

    def _text(self) -> str:
        if self.least is not None and self.most is not None:
            return f"must be between {self.least} and {self.most}"
        named = {"at least": self.least, "more than": self.above, "at most": self.most, "less than": self.below}
        return "must be " + " and ".join(f"{name} {limit}" for name, limit in named.items() if limit is not None)


class QueryRules(msgspec.Struct, frozen=True):
    """The query parameters that one route declares."""

    kinds: dict[str, Kind]
    keep_empty: frozenset[str] = frozenset()
    """Parameters whose empty value reaches the handler."""
    required: tuple[str, ...] = ()
    bounds: dict[str, Bounds] = {}
    """Of the numbers that have any."""
    checks: Mapping[str, Callable[[str], object]] = {}
    """How the handler checks texts; asked here only if something else is wrong, so that the error names all that is."""

    @classmethod
    def of(
        cls, signature: Mapping[str, Any], template: str, dependencies: Container[str], opt: Mapping[str, Any]
    ) -> QueryRules | None:
        """From a handler's signature, as Litestar has parsed it; None if it declares no query parameter.

        `dependencies` are the names of parameters that the application provides. `opt` are the options of the handler:
        `keep_empty` and `checks` mean what they mean here.
        """
        kinds: dict[str, Kind] = {}
        required: list[str] = []
        bounds: dict[str, Bounds] = {}
        for name, field in signature.items():
            parameter = field.kwarg_definition
            where = getattr(getattr(parameter, "param_type", None), "value", None)
            is_provided = name in _RESERVED or name in dependencies
            is_plain = parameter is None and not is_provided and f"{{{name}" not in template
            if where == "query" or is_plain:
                alias = getattr(parameter, "query", None) or getattr(parameter, "name", None) or name
                kinds[alias] = _kind(field)
                if field.is_required and not field.has_default:
                    required.append(alias)
                limits = Bounds(*(getattr(parameter, name, None) for name in ("ge", "le", "gt", "lt")))
                if limits != Bounds():
                    bounds[alias] = limits
        if not kinds:
            return None
        return cls(kinds, frozenset(opt.get("keep_empty", ())), tuple(required), bounds, opt.get("checks", {}))

    def apply(self, query_string: bytes) -> bytes:
        """The query string that says the same in the framework's own terms. BadInput names every wrong value."""
        values = self._values(query_string)
        wrong: dict[str, str] = {}
        for name, given in values.items():
            kind = self.kinds.get(name, "other")
            if len(given) != 1 or kind in ("list", "other"):
                continue
            read = _read(kind, given[0])
            reason = _EXPECTED[kind] if read is None else self._out_of_bounds(name, kind, read)
            if reason is not None:
                wrong[name] = reason
            elif read is not None:
                values[name] = [read]
        missing = [name for name in self.required if name not in values]
        if wrong or missing:
            raise self._error(values, wrong, missing)
        return urlencode(values, doseq=True).encode()

    def _values(self, query_string: bytes) -> dict[str, list[str]]:
        values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
            if self.kinds.get(name) == "list":
                values.setdefault(name, []).append(value)
            elif value or name in self.keep_empty:
                values[name] = [value]
            else:
                values.pop(name, None)  # the last one counts, and it is empty
        return values

    def _out_of_bounds(self, name: str, kind: Kind, text: str) -> str | None:
        bounds = self.bounds.get(name)
        return None if bounds is None else bounds.reason(int(text) if kind == "int" else float(text))

    def _error(self, values: Mapping[str, list[str]], wrong: Mapping[str, str], missing: Sequence[str]) -> BadInput:
        found: list[tuple[str, str]] = []
        details: list[str] = []
        for name, given in values.items():
            if name in wrong:
                found.append((name, wrong[name]))
                details.append(f"Invalid value for {shown(name)}: {wrong[name]}")
            elif name in self.checks:
                try:
                    self.checks[name](given[0])
                except BadInput as error:
                    found.append((name, reason_of(name, error)))
                    details.append(str(error))
        found += ((name, "required") for name in missing)
        details += (f"Missing required parameter: {shown(name)}" for name in missing)
        return BadInput(details[0], found)


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
