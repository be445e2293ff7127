"""What may be stored: values from training code become plain JSON values, or are dropped.

Plain are int, float, bool, str, None, and lists and dicts of them. Scalars of NumPy, torch, JAX (anything with a
no-argument `item()`) become Python scalars, subclasses the plain type below them, tuples lists, keys strings. NaN and
infinities are kept. Foreign objects run their own code here, so anything may be raised by it; nothing leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

PLAIN_TYPES = frozenset({int, float, bool, str, type(None)})

_AnyContainer = list[object] | tuple[object, ...] | dict[object, object]

_MAX_DEPTH = 64
_MAX_NODES = 100_000  # of one value: shared sub-lists can make a small object an endless text
_MAX_INT_BITS = 14_000  # CPython refuses to read integers of more than 4300 digits


class NotStorable(Exception):
    """A value that has no plain form; the text says why."""


def plain_items(data: object, dropped: Callable[[str, str], None]) -> dict[str, Any]:
    """A mapping (or list of pairs) as a plain dict. `dropped(key, why)` hears of every entry that cannot be stored.

    Something that is no mapping at all is dropped whole, with the key `""`.
    """
    try:
        items = list(cast(Mapping[object, object], data).items() if isinstance(data, Mapping) else dict(data).items())  # type: ignore[call-overload]  # what does not fit raises, and is caught
    except Exception:
        dropped("", f"{_type_name(data)} is not a mapping")
        return {}
    result: dict[str, Any] = {}
    for key, value in items:
        name = "?"
        try:
            name = plain_key(key)
            result[name] = plain(value)
        except Exception as error:
            dropped(name, str(error) if isinstance(error, NotStorable) else _type_name(value))
    return result


def plain(value: object) -> Any:
    """The plain form of one value; NotStorable, or whatever a foreign object raises."""
    if isinstance(value, (list, tuple, dict)):
        return _Container().plain(cast(_AnyContainer, value), 0)
    return _plain_scalar(value)


def plain_key(key: object) -> str:
    """A dict key as a string."""
    if type(key) is str:
        return key
    return str.__str__(key) if isinstance(key, str) else str.__str__(str(key))


def plain_step(step: object) -> int | None:
    """`int(step)`, if that can be done and the number can be stored; else None."""
    try:
        return _checked_int(int(step))  # type: ignore[call-overload]  # what does not fit raises, and is caught
    except Exception:
        return None


def _plain_scalar(value: object) -> Any:
    kind = type(value)
    if kind is int:
        return _checked_int(cast(int, value))
    if kind in PLAIN_TYPES:
        return value
    # Subclasses (enums, numpy.float64, numpy.str_) keep what the base class stores, whatever they print.
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _checked_int(int.__int__(value))
    item = getattr(value, "item", None)
    if item is None:  # TensorFlow's tensors give a NumPy array instead
        item = getattr(getattr(value, "numpy", lambda: None)(), "item", None)
    if not callable(item):
        raise NotStorable(_type_name(value))
    scalar = item()
    if isinstance(scalar, (int, float, str)) or scalar is None:
        return _plain_scalar(scalar)
    raise NotStorable(_type_name(value))


class _Container:
    """The conversion of one list or dict: counts the nodes, and knows the containers around the present one."""

    def __init__(self) -> None:
        self._nodes = 0
        self._around: set[int] = set()

    def plain(self, value: _AnyContainer, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise NotStorable("nested too deeply")
        identity = id(value)
        if identity in self._around:
            raise NotStorable("contains itself")
        self._around.add(identity)
        try:
            if isinstance(value, dict):
                return {plain_key(key): self._item(item, depth + 1) for key, item in value.items()}
            return [self._item(item, depth + 1) for item in value]
        finally:
            self._around.discard(identity)

    def _item(self, value: object, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise NotStorable("too large")
        if isinstance(value, (list, tuple, dict)):
            return self.plain(cast(_AnyContainer, value), depth)
        return _plain_scalar(value)


def _checked_int(value: int) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        raise NotStorable("too large an integer")
    return value


def _type_name(value: object) -> str:
    return type(value).__name__
