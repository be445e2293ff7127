"""What is remarkable about the lines of one stream, although every reader gets along with them: counted, not listed.

Clocks jump, plugins come and go, editors write other line ends: none of it is damage, all of it explains surprises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from operator import le

from runicorn.events.envelope import Event, Lines, Payload
from runicorn.events.log import Stream
from runicorn.events.problems import Problem
from runicorn.events.run import METRICS, RunCreated, RunFinished

_BOM = b"\xef\xbb\xbf"
_LAST_TS = float(1 << 35)  # beyond it no calendar goes; milliseconds taken for seconds are, too
_TYPES_NAMED = 20


class OddLines:
    """Follows one stream from its start. `remarks` says in the end what there was, each with the place of the first."""

    def __init__(self, stream: Stream, types: Collection[str]) -> None:
        self._stream = stream
        self._types = types
        self._found: dict[str, tuple[int, int]] = {}
        """What there was: the offset of the first, and how many."""
        self._last = -float("inf")
        self._has_ended = False
        self._run_id = stream.name.rpartition("/")[2]

    def read(self, lines: Lines) -> None:
        """The next lines, in order."""
        self._look_at_bytes(lines)
        if self._is_usual(lines):
            return
        is_run = self._stream.kind == "run"
        # Files of 0.4.0 are recorded with their own times: in the store stream these go back all the time.
        has_order = self._stream.kind != "store"
        for offset, event in zip(lines.offsets, lines.events, strict=True):
            if not 0 <= event.ts < _LAST_TS and event.ts == event.ts:
                self._note("the time is beyond the calendar", offset)
            elif has_order and event.ts < self._last:
                self._note("the time is before that of the event before", offset)
            if event.ts == event.ts:
                self._last = event.ts
            if event.type not in self._types and event.type not in ("", METRICS):
                self._note_type(event.type, offset)
            if is_run:
                if event.type == RunCreated.event_type:
                    self._has_ended = False
                elif self._has_ended:
                    self._note("the run had finished before", offset)
                self._has_ended |= event.type == RunFinished.event_type

    def _is_usual(self, lines: Lines) -> bool:
        """Whether there are only metrics, in order: nothing is odd about most of a log."""
        times = [event.ts for event in lines.events]
        if self._has_ended or not times or {event.type for event in lines.events} != {METRICS}:
            return False
        if not all(map(le, chain((max(self._last, 0.0),), times), times)) or times[-1] >= _LAST_TS:
            return False
        self._last = times[-1]
        return True

    def payload(self, offset: int, event: Event, payload: Payload) -> None:
        """What an event of a known type says, after `read` was called with it."""
        if self._stream.kind == "run" and isinstance(payload, RunCreated):
            if payload.run_id != self._run_id:
                self._note(f"run.created names the run {payload.run_id!r}, not {self._run_id!r}", offset)
            return
        key, run_id = getattr(payload, "run", None), getattr(payload, "run_id", None)
        if self._stream.kind != "store" or not isinstance(key, str) or not isinstance(run_id, str):
            return
        if key.rpartition("/")[2] != run_id:
            self._note(f"{event.type} is about {key!r}, and names the run {run_id!r}", offset)

    def remarks(self) -> Iterator[Problem]:
        """What was found, by place."""
        for what, (offset, count) in sorted(self._found.items(), key=lambda item: item[1]):
            times = "" if count == 1 else f" ({count} times, the first is here)"
            yield Problem(self._stream.name, offset, f"{what}{times}", is_remark=True)

    def _look_at_bytes(self, lines: Lines) -> None:
        data = lines.data
        if (count := data.count(b"\r\n")) > 0:
            self._note("the line ends in CR LF", lines.start + data.rfind(b"\n", 0, data.find(b"\r\n")) + 1, count)
        at = data.find(_BOM)
        while at >= 0:
            if at == 0 or data[at - 1 : at] == b"\n":
                self._note("the line begins with a byte order mark", lines.start + at)
            at = data.find(_BOM, at + 1)

    def _note_type(self, name: str, offset: int) -> None:
        what = f"no plugin knows the event type {name!r}"
        unknown = sum(known.startswith("no plugin") for known in self._found)
        self._note(
            what if what in self._found or unknown < _TYPES_NAMED else "no plugin knows more event types", offset
        )

    def _note(self, what: str, offset: int, count: int = 1) -> None:
        first, before = self._found.get(what, (offset, 0))
        self._found[what] = (first, before + count)
