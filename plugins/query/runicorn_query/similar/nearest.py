"""The runs that are most like another one, and what makes them so."""

from __future__ import annotations

import time
from typing import cast

import apsw
import msgspec
import numpy as np

from runicorn.plugin import FileLog, RunNotFound
from runicorn_query.similar.features import DIMENSIONS, Vector
from runicorn_query.similar.run_vector import RunFacts, RunVector, facts_of, run_vector, settings_of
from runicorn_query.similar.vector_file import MOST, decode_curves, encode_curves

_SETTINGS_SHOWN = 20
_METRICS_SHOWN = 5


class ClosestMetric(msgspec.Struct, frozen=True):
    """A metric that both runs have. `distance` is that of the numbers which stand for the curves: 0 if they are alike."""

    name: str
    distance: float


class DifferentSetting(msgspec.Struct, frozen=True):
    """A setting in which the runs differ; null where a run lacks it."""

    key: str
    ours: object
    theirs: object


class SimilarRun(msgspec.Struct, frozen=True):
    """A run and how it is like the one that was asked about. Similarities are cosines, 1 for alike."""

    id: str
    project: str | None
    name: str | None
    status: str
    created_at: float | None
    similarity: float
    """The weighted sum of the two parts."""
    metric_similarity: float
    config_similarity: float
    shared_config: dict[str, object]
    """Settings with equal values, at most 20."""
    different_config: list[DifferentSetting]
    """At most 20."""
    closest_metrics: list[ClosestMetric]
    """At most 5, the closest first."""


class SimilarRuns(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/experiments/{exp_id}/similar`."""

    id: str
    k: int
    metric_weight: float
    similar: list[SimilarRun]
    """The most similar first."""
    compared_runs: int
    """How many runs have a vector."""
    query_time_ms: float


def nearest(
    runs: apsw.Connection, vectors: apsw.Connection | None, log: FileLog, key: str, k: int, metric_weight: float
) -> SimilarRuns:
    """The `k` listed runs that are most like the run `key`. RunNotFound if there is none."""
    started = time.perf_counter()
    own = facts_of(runs, key)
    if own is None:
        raise RunNotFound(key.rpartition("/")[2])
    vector = _own_vector(vectors, log, own)
    similar: list[tuple[float, str, SimilarRun]] = []
    compared = 0
    if vectors is not None:
        compared = cast(int, vectors.execute("SELECT count(*) FROM run").fetchall()[0][0])
        ours = _Ours(own, vector)
        for other, curves in _neighbours(runs, vectors, vector, key, k, metric_weight):
            found = ours.compare(runs, other, curves, metric_weight)
            similar.append((-found.similarity, other.key, found))
    return SimilarRuns(
        id=key.rpartition("/")[2],
        k=k,
        metric_weight=metric_weight,
        similar=[found for *_, found in sorted(similar, key=lambda item: item[:2])],
        compared_runs=compared,
        query_time_ms=round(1000 * (time.perf_counter() - started), 2),
    )


class _Stored(msgspec.Struct, frozen=True):
    """A neighbour's vector, in halves, and the numbers of its curves."""

    curves: Vector
    settings: Vector
    features: dict[str, Vector]


class _Ours:
    """The run that was asked about."""

    def __init__(self, facts: RunFacts, vector: RunVector | _Stored) -> None:
        self._vector = vector
        self._settings = settings_of(facts, vector.features)

    def compare(self, runs: apsw.Connection, facts: RunFacts, other: _Stored, metric_weight: float) -> SimilarRun:
        rows = runs.execute(
            "SELECT run_id, project, name, status, created FROM run WHERE key = ?", (facts.key,)
        ).fetchall()
        run_id, project, name, status, created = cast("tuple[str, str | None, str | None, str, float | None]", rows[0])
        metric = float((self._vector.curves * other.curves).sum())
        config = float((self._vector.settings * other.settings).sum())
        theirs = settings_of(facts, other.features)
        shared = {key: value for key, value in self._settings.items() if key in theirs and _alike(value, theirs[key])}
        different = [
            DifferentSetting(key, self._settings.get(key), theirs.get(key))
            for key in sorted(self._settings.keys() | theirs.keys())
            if key not in shared
        ]
        return SimilarRun(
            id=run_id,
            project=project,
            name=name,
            status=status,
            created_at=created,
            similarity=round(metric_weight * metric + (1 - metric_weight) * config, 4),
            metric_similarity=round(metric, 4),
            config_similarity=round(config, 4),
            shared_config=dict(list(shared.items())[:_SETTINGS_SHOWN]),
            different_config=different[:_SETTINGS_SHOWN],
            closest_metrics=_closest(self._vector.features, other.features),
        )


def _own_vector(vectors: apsw.Connection | None, log: FileLog, own: RunFacts) -> RunVector | _Stored:
    """As it is stored; worked out now if that is missing, or of an earlier state of the run."""
    if vectors is not None:
        row = vectors.execute("SELECT id, events, digest FROM run WHERE key = ?", (own.key,)).fetchall()
        if row and row[0][1:] == own.described[1:]:
            return _stored(vectors, cast(int, row[0][0]))
    vector = run_vector(log, own)
    # With the precision of stored ones, so that the answer does not depend on whether it is stored yet.
    return _Stored(
        vector.curves.astype(np.float32).astype(np.float64),
        vector.settings.astype(np.float32).astype(np.float64),
        decode_curves(encode_curves(vector.features)),
    )


def _neighbours(
    runs: apsw.Connection,
    vectors: apsw.Connection,
    own: RunVector | _Stored,
    own_key: str,
    k: int,
    metric_weight: float,
) -> list[tuple[RunFacts, _Stored]]:
    """The nearest runs that are listed at this moment, whatever the vectors say."""
    question = RunVector(own.curves, own.settings, {}).blob(metric_weight)
    wanted = k + 1
    while True:
        rows = vectors.execute(
            "SELECT rowid FROM vectors WHERE vector MATCH ? AND k = ? AND listed = 1 ORDER BY distance",
            (question, wanted),
        ).fetchall()
        found: list[tuple[RunFacts, _Stored]] = []
        for (run_id,) in rows:
            key = str(vectors.execute("SELECT key FROM run WHERE id = ?", (run_id,)).fetchall()[0][0])
            facts = None if key == own_key else facts_of(runs, key)
            if facts is not None and facts.listed:
                found.append((facts, _stored(vectors, cast(int, run_id))))
                if len(found) == k:
                    return found
        if len(rows) < wanted or wanted == MOST:
            return found
        wanted = min(4 * wanted, MOST)


def _stored(vectors: apsw.Connection, run_id: int) -> _Stored:
    blob = vectors.execute("SELECT vector FROM vectors WHERE rowid = ?", (run_id,)).fetchall()[0][0]
    curves = vectors.execute("SELECT curves FROM run WHERE id = ?", (run_id,)).fetchall()[0][0]
    vector = np.frombuffer(cast(bytes, blob), np.float32).astype(np.float64)
    return _Stored(vector[:DIMENSIONS], vector[DIMENSIONS:], decode_curves(cast(bytes, curves)))


def _closest(ours: dict[str, Vector], theirs: dict[str, Vector]) -> list[ClosestMetric]:
    found = [
        ClosestMetric(name, round(float(np.sqrt(((ours[name] - theirs[name]) ** 2).sum())), 4))
        for name in sorted(ours.keys() & theirs.keys())
    ]
    return sorted(found, key=lambda metric: metric.distance)[:_METRICS_SHOWN]


def _alike(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
