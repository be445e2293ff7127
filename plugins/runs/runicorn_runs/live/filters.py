"""What a client wants to hear about."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from runicorn_runs.live.notices import Notice


class Wanted(msgspec.Struct, frozen=True):
    """A filter. An empty part of it lets everything pass."""

    runs: frozenset[str] = frozenset()
    """Ids of runs, or their paths below the root."""
    projects: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    """Of types; each ends in a dot."""

    @classmethod
    def read(cls, runs: Iterable[str], projects: Iterable[str], types: Iterable[str]) -> Wanted:
        """From query parameters. `types` may be lists with commas; what ends in a dot stands for all that begin so."""
        named = {name for value in types for part in value.split(",") if (name := part.strip())}
        prefixes = tuple(sorted(name for name in named if name.endswith(".")))
        return cls(
            frozenset(run for run in runs if run),
            frozenset(project for project in projects if project),
            frozenset(named.difference(prefixes)),
            prefixes,
        )

    def matches(self, notice: Notice) -> bool:
        """Whether a notice is for this client."""
        if notice.is_for_all:
            return True
        if self.runs and notice.run not in self.runs and notice.run_id not in self.runs:
            return False
        if self.projects and notice.project not in self.projects:
            return False
        if not self.types and not self.prefixes:
            return True
        return notice.type in self.types or notice.type.startswith(self.prefixes or "\0")
