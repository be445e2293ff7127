"""What is known of a subject before an event, field by field: what an event changed is what differs then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from runicorn.history.entries import FieldChange


class Facts:
    """The values of fields, while events are gone through in order.

    `defaults` are those before any event.
    """

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = dict(defaults)
        self._unknown: set[str] = set()

    def get(self, field: str) -> Any:
        """The value of a field; None where it has none, or an unknown one."""
        return self._values.get(field)

    def forget(self, fields: Collection[str]) -> None:
        """Nothing is known of these fields (any more)."""
        self._unknown.update(fields)
        for field in fields:
            self._values.pop(field, None)

    def set(self, field: str, value: Any) -> list[FieldChange]:
        """Set a field; the change, if it is one."""
        before, is_known = self._values.get(field), field not in self._unknown
        self._unknown.discard(field)
        self._values[field] = value
        return [] if is_known and same(before, value) else [FieldChange(field, before, value, is_known)]

    def update(self, field: str, update: Mapping[str, Any]) -> list[FieldChange]:
        """Set some keys of a field that is an object; the changes of `field.key`."""
        values = self._object(field)
        changes: list[FieldChange] = []
        for key, value in update.items():
            before, is_known = values.get(key), key in values or field not in self._unknown
            if not is_known or key not in values or not same(before, value):
                changes.append(FieldChange(f"{field}.{key}", before, value, is_known))
        self._values[field] = {**values, **update}
        return changes

    def replace(self, field: str, values: Mapping[str, Any]) -> list[FieldChange]:
        """Set a field that is an object as a whole; the changes of `field.key`."""
        gone = [
            FieldChange(f"{field}.{key}", before, None)
            for key, before in self._object(field).items()
            if key not in values
        ]
        changes = self.update(field, values)
        self._unknown.discard(field)
        self._values[field] = dict(values)
        return [*changes, *gone]

    def _object(self, field: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self._values.get(field) or {})


def same(one: object, other: object) -> bool:
    """Whether two values of JSON are the same; NaN is itself, and 1 is neither 1.0 nor true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        first, second = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(one, list):
        items, others = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(others) and all(map(same, items, others))
    return one == other or (one != one and other != other)
