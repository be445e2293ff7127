"""The metric events of a batch, decoded once for all projections of this plugin."""

from __future__ import annotations

from functools import lru_cache

from runicorn.columns import Frame, build_frame_from_lines
from runicorn.plugin import METRICS, Batch


@lru_cache(maxsize=1)  # projections of one read model are given a batch one after the other
def metric_frame(batch: Batch) -> Frame | None:
    """The batch's metric events in order; None if it has none."""
    events = [event for event in batch.events if event.type == METRICS]
    if not events:
        return None
    frame = build_frame_from_lines([event.ts for event in events], [event.data for event in events])
    return frame if frame.rows else None
