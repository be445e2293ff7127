"""However the streams about artifacts are interleaved, cut and forgotten: the read model is a function of what they hold."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.events.log import FileLog, Stream
from runicorn.projection.catch_up import catch_up
from runicorn.projection.model import ReadModel
from runicorn_artifacts.projections.artifact_versions import ArtifactVersions
from runicorn_artifacts.projections.run_artifacts import RunArtifacts

KEYS = ["artifacts/model/net", "artifacts/ArtifactType.MODEL/net"]
STREAMS = [*KEYS, ".runicorn/log/00000001", ".runicorn/log/00000002"]
TABLES = {
    "artifact": "key",
    "artifact_version": "key, version",
    "artifact_alias": "key, alias",
    "run_artifact": "run, direction, position",
    "attached_run_artifact": "run, direction, position",
}

times = st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, math.nan])
versions = st.sampled_from([1, 2, 1 << 63, 0])
stages = st.sampled_from(["experimental", "staging", "production", "alpha", None])
maybe_time = st.sampled_from([None, 1.0, 2.5])
records = st.builds(
    lambda size, run, metadata: {
        "created_at": 1.0, "updated_at": 1.0, "size_bytes": size, "created_by_run": run, "metadata": metadata,
    },
    st.integers(0, 1 << 64), st.sampled_from(["", "r"]), st.dictionaries(st.just("k"), st.sampled_from([1, 10**30, math.nan])),
)  # fmt: skip


def line(ts: float, kind: str, data: Any) -> bytes:
    return json.dumps({"ts": ts, "type": kind, "data": {"type": "model", "name": "net", **data}}).encode() + b"\n"


own = st.one_of(
    st.builds(lambda ts, v, r: line(ts, "artifact.version_created", {"version": v, "record": r}), times, versions, records),
    st.builds(lambda ts, v: line(ts, "artifact.deleted", {"version": v, "deleted_at": 1.0}), times, versions),
    st.builds(lambda ts, v: line(ts, "artifact.restored", {"version": v}), times, versions),
    st.builds(lambda ts, v: line(ts, "artifact.purged", {"version": v}), times, versions),
    st.builds(
        lambda ts, a, v: line(ts, "artifact.aliased", {"alias": a, "version": v}),
        times, st.sampled_from(["good", "production"]), st.one_of(st.none(), versions),
    ),
    st.builds(
        lambda ts, v, s: line(ts, "artifact.promoted", {"version": v, "from_stage": "x", "to_stage": s}),
        times, versions, stages,
    ),
    st.just(b"garbage\n"),
)  # fmt: skip
observed = st.one_of(
    st.builds(
        lambda ts, key, present, aliases, at: line(
            ts, "artifact.observed",
            {"artifact": key, "is_present": present, "aliases": aliases, "updated_at": at, "observed_at": 1.0},
        ),
        times, st.sampled_from([*KEYS, "artifacts/x", "../x/y"]), st.booleans(),
        st.dictionaries(st.sampled_from(["good", "old"]), st.one_of(st.none(), versions)), maybe_time,
    ),
    st.builds(
        lambda ts, key, v, record, deleted, stage: line(
            ts, "artifact.version_observed",
            {"artifact": key, "version": v, "record": record, "deleted_at": deleted, "stage": stage, "observed_at": 1.0},
        ),
        times, st.sampled_from(KEYS), versions, st.one_of(st.none(), records), maybe_time, stages,
    ),
    st.builds(
        lambda ts, run, count: line(
            ts, "run.observed",
            {"run": run, "run_id": "a", "file": "artifacts_used.json", "observed_at": 1.0,
             "content": {"artifacts": [{"name": "net", "type": "model", "version": 1}] * count}},
        ),
        times, st.sampled_from(["p/n/runs/a", ".mirrors/box/attached/p/n/runs/a"]), st.integers(0, 2),
    ),
)  # fmt: skip
worlds = st.tuples(*[st.lists(own, max_size=8)] * 2, *[st.lists(observed, max_size=8)] * 2).map(
    lambda streams: [b"".join(lines) for lines in streams]
)
steps = st.lists(
    st.tuples(st.sampled_from(["grow", "remove"]), st.sampled_from(range(4)), st.integers(1, 500)), max_size=20
)


def rows(model: ReadModel) -> dict[str, list[Any]]:
    return {
        table: model.connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()
        for table, order in TABLES.items()
    }


def level(log: FileLog, model: ReadModel, stream: Stream) -> None:
    with model.transaction():
        while catch_up(log, [model], stream, limit=64).more:
            pass


@settings(max_examples=60, deadline=None)
@given(worlds, steps)
def test_any_interleaving_ends_in_the_same_rows(world: list[bytes], steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        log = FileLog(root, root / "state")
        model = ReadModel(root / "one.db", "artifacts", [ArtifactVersions(), RunArtifacts()])
        paths = [Path(log.path(Stream.named(name))) for name in STREAMS]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        for what, number, count in steps:
            path, content = paths[number], world[number]
            if what == "remove":
                path.unlink(missing_ok=True)
            else:
                have = path.stat().st_size if path.exists() else 0
                with path.open("ab") as file:
                    file.write(content[have : have + count])
            level(log, model, Stream.named(STREAMS[number]))
        for name, path, content in zip(STREAMS, paths, world, strict=True):
            path.write_bytes(content)
            level(log, model, Stream.named(name))
        again = ReadModel(root / "two.db", "artifacts", [ArtifactVersions(), RunArtifacts()])
        for name in reversed(STREAMS):
            level(log, again, Stream.named(name))
        assert rows(model) == rows(again)
        model.close()
        again.close()
