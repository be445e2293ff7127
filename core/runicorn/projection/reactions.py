"""Reactions: plugins that are told about events after the commit, at least once, with a durable cursor."""

from __future__ import annotations

import msgspec

from runicorn.events.envelope import Event
from runicorn.events.log import Stream


class CommittedEvent(msgspec.Struct, frozen=True):
    """An event with its identity, `(stream, offset)`."""

    stream: Stream
    offset: int
    event: Event
