"""What changes in a `versions.json` when a version or an alias does. Unknown keys, of the file and of its items, stay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

from runicorn.plugin import integer

Index = dict[str, Any]

_LATEST = "latest"


def has_version(index: Index, version: int) -> bool:
    """Whether the index lists a version."""
    return any(item.get("version") == version for item in _items(index))


def set_deleted(index: Index, version: int, is_deleted: bool) -> None:
    """A version is soft-deleted now, or is not any more. Its aliases stay, but for `latest`."""
    for item in _items(index):
        if item.get("version") == version:
            item["status"] = "deleted" if is_deleted else "ready"
    _settle(index)
    index["updated_at"] = time.time()


def remove_version(index: Index, version: int) -> None:
    """A version is gone for good, with every alias that pointed to it. Its number stays taken."""
    aliases = _aliases(index)
    taken = [number for item in _items(index) if (number := integer(item.get("version"))) is not None]
    taken += [version, *aliases.values(), (integer(index.get("next_version")) or 1) - 1]
    index["versions"] = [item for item in _items(index) if item.get("version") != version]
    index["aliases"] = {alias: target for alias, target in aliases.items() if target != version}
    _settle(index)
    index["updated_at"] = time.time()
    index["next_version"] = max(taken) + 1


def set_alias(index: Index, alias: str, version: int | None) -> None:
    """An alias points to a version now, or (None) to none."""
    aliases = {name: target for name, target in _aliases(index).items() if name != alias or version is not None}
    index["aliases"] = aliases if version is None else {**aliases, alias: version}
    _settle(index)


def _settle(index: Index) -> None:
    """Make `latest`, and the aliases of each item, say what follows from the rest."""
    aliases = _aliases(index)
    items = list(_items(index))
    ready = [number for item in items if item.get("status") != "deleted" and (number := integer(item.get("version")))]
    if ready:
        aliases[_LATEST] = max(ready)
    else:
        aliases.pop(_LATEST, None)
    index["aliases"] = aliases
    for item in items:
        item["aliases"] = [alias for alias, target in aliases.items() if target == item.get("version")]


def _items(index: Index) -> Iterator[Index]:
    listed: object = index.get("versions")
    for item in cast(list[object], listed) if isinstance(listed, list) else []:
        if isinstance(item, dict):
            yield cast(Index, item)


def _aliases(index: Index) -> dict[str, int]:
    stored: object = index.get("aliases")
    found = cast(dict[str, object], stored) if isinstance(stored, dict) else {}
    return {alias: number for alias, target in found.items() if (number := integer(target)) is not None}
