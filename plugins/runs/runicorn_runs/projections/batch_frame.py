"""The metric events of a batch, decoded once for all projections of this plugin."""

from __future__ import annotations

from runicorn.columns import Frame, build_frame_from_lines
from runicorn.plugin import METRICS, Batch

_SHARED = "metric_frame"


def metric_frame(batch: Batch) -> Frame | None:
    """The batch's metric events in order; None if it has none."""
    try:
        return batch.shared[_SHARED]
    except KeyError:
        frame = batch.shared[_SHARED] = _decoded(batch)
        return frame


def _decoded(batch: Batch) -> Frame | None:
    places = batch.places.get(METRICS)
    if not places:
        return None
    events = batch.events if len(places) == len(batch.events) else [batch.events[place] for place in places]
    frame = build_frame_from_lines([event.ts for event in events], [event.data for event in events])
    return frame if frame.rows else None
