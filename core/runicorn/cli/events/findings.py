"""What `runicorn events verify` finds, as it is told: defects on standard output, all the rest on standard error."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from runicorn.cli.table import clean

_MOST_REMARKS = 50


class Findings:
    """Tells findings one by one, and in the end what helps. With `as_json` each is one JSON object."""

    def __init__(self, as_json: bool) -> None:
        self.defects = 0
        self.repaired = 0
        self._as_json = as_json
        self._repairs: Counter[str] = Counter()
        self._remarks: list[str] = []
        self._more_remarks = 0

    def defect(
        self, place: str, offset: int | None, reason: str, repair: str, *, is_repaired: bool = False, **more: Any
    ) -> None:
        """Something is damaged. `more` are further keys of the JSON object."""
        self.defects += 1
        self.repaired += is_repaired
        if self._as_json:
            self._object(place, offset, reason, severity="defect", repair=repair, repaired=is_repaired, **more)
            return
        click.echo(_shown(place, offset, reason))
        if not is_repaired:
            self._repairs[repair] += 1

    def remark(self, place: str, offset: int | None, reason: str) -> None:
        """Something is worth to know; nothing is damaged."""
        if self._as_json:
            self._object(place, offset, reason, severity="remark")
        elif len(self._remarks) < _MOST_REMARKS:
            self._remarks.append(_shown(place, offset, reason))
        else:
            self._more_remarks += 1

    def tell_rest(self) -> None:
        """Remarks, and what helps against the defects; nothing as JSON, where each object has it."""
        for remark in self._remarks:
            click.echo(f"remark: {remark}", err=True)
        if self._more_remarks:
            click.echo(f"and {self._more_remarks} remarks more, which --json shows", err=True)
        for repair, count in self._repairs.most_common():
            click.echo(f"\n{count} of them: {repair}", err=True)

    def _object(self, place: str, offset: int | None, reason: str, **more: Any) -> None:
        click.echo(json.dumps({"stream": place, "offset": offset, "reason": reason, **more}))


def _shown(place: str, offset: int | None, reason: str) -> str:
    return clean(f"{place}: {reason}" if offset is None else f"{place} @ {offset}: {reason}")
