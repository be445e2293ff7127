"""What users may set: which logs are searched, and how large their index may become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

import msgspec

from runicorn.plugin import config_file, integer, read_json_object

DEFAULT_MIB = 2048

_EXCLUDE = "search_exclude"
_LIMIT = "search_index_mb"


class Settings(msgspec.Struct, frozen=True):
    """Settings of the index of logs."""

    exclude: tuple[str, ...] = ()
    """Patterns such as `secret/*`, of paths below the root; `*` stands for any text."""
    limit_mib: int = DEFAULT_MIB
    """Above that, the logs that were not written to for longest are left out. 0: no logs are searched."""

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """From `RUNICORN_SEARCH_EXCLUDE` and `RUNICORN_SEARCH_INDEX_MB`, else the same in lower case in `config.json`.

        What cannot be understood counts as unset.
        """
        config = read_json_object(config_file()) or {}
        exclude: object = environment.get("RUNICORN_SEARCH_EXCLUDE") or config.get(_EXCLUDE)
        limit: Any = environment.get("RUNICORN_SEARCH_INDEX_MB") or config.get(_LIMIT)
        if isinstance(limit, str):
            limit = int(limit) if limit.isascii() and limit.isdigit() else None
        chosen = integer(limit)
        return cls(_patterns(exclude), DEFAULT_MIB if chosen is None or chosen < 0 else chosen)

    @property
    def limit_bytes(self) -> int:
        """How large the index may become."""
        return self.limit_mib << 20

    @property
    def is_off(self) -> bool:
        """Whether no log is searched at all."""
        return not self.limit_mib or "*" in self.exclude

    def excludes(self, key: str) -> bool:
        """Whether the log of the run with this key is left out."""
        return any(fnmatchcase(key, pattern) for pattern in self.exclude)


def _patterns(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    items = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(item.strip() for item in items if isinstance(item, str) and item.strip())
