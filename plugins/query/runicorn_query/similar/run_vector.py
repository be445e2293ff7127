"""The vector of one run, from what the list of runs says and the events of its stream.

A run that has ended is described by all its events. Of one that is going, only the first power of two counts: its vector
changes when the number of events has doubled, and is the same whenever it is worked out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import NamedTuple

import apsw
import msgspec
import numpy as np

from runicorn.columns import BIG, BOOL, FLOAT, INT, build_frame_from_lines
from runicorn.plugin import METRICS, RUNNING, FileLog, Stream, StreamReplaced, dump_json, parse_json
from runicorn_query.similar.features import Curve, Vector, curves_vector, flattened, settings_vector

_MOST_METRICS = 256
_NO_METRICS = frozenset({"time", "stage", "epoch"})
_NO_SETTINGS = "best_metric_"  # results, under the names that the SDK gives them
_NUMERIC = frozenset({FLOAT, INT, BOOL, BIG})


class Described(NamedTuple):
    """What a vector is worked out from. Two equal ones give equal vectors."""

    key: str
    events: int
    """How many events of the stream count."""
    digest: bytes
    """Of the configuration."""


class RunVector(msgspec.Struct, frozen=True):
    """A run's vector and what it was made of, for saying what is alike."""

    curves: Vector
    settings: Vector
    features: dict[str, Vector]
    """By metric."""

    def blob(self, metric_weight: float | None = None) -> bytes:
        """As sqlite-vec stores it; with a weight, as a question for the nearest."""
        weight = 1.0 if metric_weight is None else metric_weight
        other = 1.0 if metric_weight is None else 1.0 - metric_weight
        return np.concatenate([weight * self.curves, other * self.settings]).astype(np.float32).tobytes()


class RunFacts(NamedTuple):
    """What the list of runs says."""

    key: str
    status: str
    listed: bool
    config: str
    summary: bytes
    events: int

    @property
    def described(self) -> Described:
        """What its vector is to be worked out from now."""
        events = self.events
        if self.is_going and events:
            events = 1 << (events.bit_length() - 1)
        return Described(self.key, events, hashlib.blake2b(dump_json(self.settings), digest_size=8).digest())

    @property
    def is_going(self) -> bool:
        """Whether more is expected of it."""
        return self.status == RUNNING

    @property
    def settings(self) -> dict[str, object]:
        """The configuration, flat; of a run that ended without one, what its summary says besides the best value."""
        config = flattened(parse_json(self.config.encode("utf-8", "replace")))
        if config or self.is_going:  # the summary of a run that is going changes with every step
            return config
        summary = flattened(parse_json(bytes(self.summary)))
        return {key: value for key, value in summary.items() if not key.startswith(_NO_SETTINGS)}


FACTS = (
    "SELECT run.key, status, listed, config, summary, ifnull(activity.events, 0), run.rowid"
    " FROM run LEFT JOIN stream ON stream.name = run.key LEFT JOIN activity ON activity.stream_id = stream.id"
)
"""The columns of `RunFacts`, and the row's id, from the read model of the plugin `runs`."""


def facts_of(runs: apsw.Connection, key: str) -> RunFacts | None:
    """What the list says of one run; None if there is none."""
    rows = runs.execute(f"{FACTS} WHERE run.key = ?", (key,)).fetchall()
    return RunFacts(*rows[0][:-1]) if rows else None  # type: ignore[arg-type]  # the columns are those of the tuple


def run_vector(log: FileLog, facts: RunFacts) -> RunVector:
    """Read the stream of a run and work out its vector. Memory is bounded whatever the run has logged."""
    curves = read_curves(log, facts.key, facts.described.events)
    features = {name: curve.features() for name, curve in curves.items() if len(curve)}
    return RunVector(curves_vector(features), settings_vector(settings_of(facts, features)), features)


def settings_of(facts: RunFacts, metrics: Container[str]) -> dict[str, object]:
    """The settings of a run without those that are names of its metrics: results, in a summary."""
    return {key: value for key, value in facts.settings.items() if key not in metrics}


def read_curves(log: FileLog, key: str, events: int) -> dict[str, Curve]:
    """The curves in the first `events` events of a run's stream, by metric: none if it is replaced meanwhile."""
    try:
        return _read_curves(log, Stream("run", key), events)
    except StreamReplaced:
        return {}


def _read_curves(log: FileLog, stream: Stream, events: int) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    end = 0
    while events > 0:
        try:
            lines = log.read(stream, after=end)
        except OSError:
            break
        if lines.end == end:
            break
        end = lines.end
        counted = [event for event in lines.events[:events] if event.type == METRICS]
        events -= len(lines.events)
        frame = build_frame_from_lines([event.ts for event in counted], [event.data for event in counted])
        for name, column in frame.columns.items():
            if name in _NO_METRICS or not _NUMERIC & set(column.kind_of_each().tolist()):
                continue
            curve = curves.get(name)
            if curve is None:
                if len(curves) == _MOST_METRICS:
                    continue
                curve = curves[name] = Curve()
            curve.extend(column.numbers())
    return curves
