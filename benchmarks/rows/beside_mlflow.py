"""The same runs in MLflow, and the same questions: `python -m benchmarks --with mlflow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from benchmarks.client import Client
from benchmarks.figures import Times, alternated, amount, duration, timed
from benchmarks.mlflow_store import MlflowStore
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Store, Workspace, progress

_PAGE = 50
_METRIC, _LIMIT = "loss", 1.5


def mlflow(space: Workspace) -> Iterator[Row]:
    """Rows for lists, a filter and the curve of a run, MLflow's client on its SQLite store beside ours over HTTP."""
    store = space.listed
    theirs = MlflowStore(space.fresh("mlflow") / "mlflow.db")
    writing = Times(list(_copied(theirs, store)))
    name = f"MLflow {theirs.version()}"
    condition = f"metric.{_METRIC}.last < {_LIMIT}"
    last = store.runs[-1].run_id
    questions: list[tuple[str, str, Callable[[], object]]] = [
        ("newest 50 runs", f"/api/v2/experiments?per_page={_PAGE}", lambda: theirs.newest(_PAGE)),
        (
            f"newest 50 runs whose last {_METRIC} is below {_LIMIT}",
            f"/api/v2/experiments?{urlencode({'per_page': _PAGE, 'q': condition})}",
            lambda: theirs.below(_METRIC, _LIMIT, _PAGE),
        ),
        ("all runs", "/api/runs", theirs.everything),
        ("one metric of one run", f"/api/runs/{last}/metrics_step", lambda: theirs.history(_METRIC)),
    ]
    with serving(store.root, space.listed_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        for what, path, ask in questions:
            ours, baseline = alternated(lambda path=path: _asked(client, path), ask, rounds=space.size.rounds)
            many = Times([timed(lambda path=path: _asked(client, path)) for _ in range(max(10, space.size.rounds * 5))])
            yield Row(
                name="mlflow",
                what=f"{name}, {amount(store.shape.runs)} runs: {what}",
                measured=str(many),
                baseline=f"{duration(baseline.p50)} ({name}, SQLite, without HTTP)",
                ratio=baseline.p50 / ours.p50,
                values={"p50": many.p50, "p99": many.p99, "mlflow": baseline.p50},
            )
        client.close()
    yield Row(
        name="mlflow",
        what=f"{name}: writing a run of {store.shape.events} events × {store.shape.metrics} metrics, one batch",
        measured="–",
        baseline=f"{writing} ({name}, SQLite, without HTTP)",
        values={"p50": writing.p50, "p99": writing.p99},
    )


def _copied(theirs: MlflowStore, store: Store) -> Iterator[float]:
    """Seconds that each run takes."""
    for number, run in enumerate(store.runs, 1):
        yield timed(lambda run=run: theirs.add(store.root, run))
        if number % 1000 == 0:
            progress(f"{number} of {len(store.runs)} runs are in MLflow")


def _asked(client: Client, path: str) -> None:
    answer = client.get(path)
    if answer.status != 200 or len(answer.body) < 100:
        raise RuntimeError(f"{path} is answered with {answer.status} and {len(answer.body)} bytes")
