"""Events → what somebody is told. A pure function: the same events are the same notifications, with the same ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from runicorn.plugin import (
    FINISHED,
    METRICS,
    InvalidPayload,
    LocatedEvent,
    RunFinished,
    decode_data,
    decode_payload,
    number,
)
from runicorn_notify.settings import Settings

_LOST = "run.lost"
"""A run whose process is gone without having ended it: found out by the server, in the store stream."""


class Notification(msgspec.Struct, frozen=True):
    """The JSON object that is posted."""

    id: str
    """The same whenever it is sent again: by it a receiver knows what it has already."""
    type: str
    """`run.finished`, `run.failed`, `metric.threshold` or `test`."""
    ts: float | None
    """When it became true, in Unix seconds."""
    run: str
    """The run's path below the storage root."""
    data: dict[str, Any]

    def encode(self) -> bytes:
        """As JSON; numbers that JSON lacks are null."""
        return msgspec.json.encode(self)


def notifications(events: Iterable[LocatedEvent], settings: Settings) -> Iterator[Notification]:
    """What the settings want to be told of these events, in their order.

    A threshold is told whenever it is crossed, always with the id of this run and threshold: once counts.
    """
    for located in events:
        event = located.event
        if event.type == METRICS and settings.thresholds:
            yield from _crossed(located, settings)
        elif event.type in (RunFinished.event_type, _LOST):
            ended = _ended(located)
            if ended is not None and ended.type in settings.events:
                yield ended


def identity(*parts: object) -> str:
    """The id of what these parts say."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _ended(located: LocatedEvent) -> Notification | None:
    event, stream = located.event, located.stream.name
    if event.type == _LOST:
        lost = decode_data(event)
        if not isinstance(lost, dict) or not isinstance(lost.get("run"), str):
            return None
        run, status, reason = lost["run"], str(lost.get("status")), lost.get("exit_reason")
    else:
        try:
            finished = decode_payload(event, RunFinished)
        except InvalidPayload:
            return None
        run, status, reason = stream, finished.status, finished.exit_reason
    kind = "run.finished" if status == FINISHED else "run.failed"
    return Notification(
        identity(stream, located.offset, kind, event.ts),
        kind,
        _time(event.ts),
        run,
        {"status": status, "exit_reason": reason},
    )


def _crossed(located: LocatedEvent, settings: Settings) -> Iterator[Notification]:
    values = decode_data(located.event)
    if not isinstance(values, dict):
        return
    run = located.stream.name
    for threshold in settings.thresholds:
        value = number(values.get(threshold.metric))
        if value is not None and threshold.is_crossed_by(value):
            data = {
                "metric": threshold.metric,
                "value": value,
                "step": values.get("global_step"),
                **({"above": threshold.above} if threshold.above is not None else {"below": threshold.below}),
            }
            of_threshold = identity(run, threshold.metric, threshold.above, threshold.below)
            yield Notification(of_threshold, "metric.threshold", _time(located.event.ts), run, data)


def _time(ts: float) -> float | None:
    return ts if ts == ts else None
