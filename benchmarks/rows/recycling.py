"""Into the recycle bin and out of it: a hundred runs of three thousand, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, duration, timed
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_RUNS = 3000
_AT_ONCE = 100


def a_hundred_runs(space: Workspace) -> Iterator[Row]:
    """A row for deleting, one for restoring. Each answer comes when every reader sees the change."""
    store = space.recycled
    ids = [run.run_id for run in store.runs[:_AT_ONCE]]
    with serving(store.root, space.fresh("state-recycled")) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        client.close()
        address = urlsplit(server.url)
        connection = HTTPConnection(address.hostname or "", address.port)
        pairs = [
            (
                timed(lambda: _post(connection, "/api/runs/soft-delete", ids)),
                timed(lambda: _post(connection, "/api/recycle-bin/restore", ids)),
            )
            for _ in range(space.size.rounds)
        ]
        connection.close()
    deleted, restored = Times([pair[0] for pair in pairs]), Times([pair[1] for pair in pairs])
    theirs = Times([timed(lambda: baseline.soft_delete(store.root, ids)) for _ in range(min(3, space.size.rounds))])
    is_full = store.shape.runs == _RUNS
    yield Row(
        name="recycle-bin",
        what=f"`POST /api/runs/soft-delete` of {len(ids)} runs among {store.shape.runs}",
        budget="< 1 s",
        measured=str(deleted),
        baseline=duration(theirs.p50),
        ratio=theirs.p50 / deleted.p50,
        met=deleted.p50 < 1.0 if is_full else None,
        values={"p50": deleted.p50, "p99": deleted.p99, "baseline": theirs.p50},
    )
    yield Row(
        name="recycle-bin",
        what="… `POST /api/recycle-bin/restore` of the same",
        budget="< 1 s",
        measured=str(restored),
        met=restored.p50 < 1.0 if is_full else None,
        values={"p50": restored.p50, "p99": restored.p99},
    )


def _post(connection: HTTPConnection, path: str, ids: Sequence[str]) -> None:
    connection.request("POST", path, json.dumps({"run_ids": ids}), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    assert sum(outcome["success"] for outcome in answer["results"].values()) == len(ids), answer
