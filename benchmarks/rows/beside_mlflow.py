"""The same runs in MLflow, and the same questions: `python -m benchmarks --with mlflow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.client import Client
from benchmarks.figures import Times, alternated, amount, duration, timed
from benchmarks.mlflow_store import MlflowStore
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Store, Workspace, progress

_PAGE = 50
_METRIC, _LIMIT = "loss", 1.5
_BY_CLIENT = 1_000  # runs of each store that MLflow's client writes; the others are the same rows
_ROUNDS = 3  # listing 100 000 runs takes MLflow half a minute


def mlflow(space: Workspace) -> Iterator[Row]:
    """Rows for lists, a filter and the curve of a run, MLflow's client on its SQLite store beside ours over HTTP."""
    version = MlflowStore.version()
    yield from _questions(space, space.listed, space.listed_state, version)
    yield from _questions(space, space.short, space.short_state, version)


def _questions(space: Workspace, store: Store, state: Path, version: str) -> Iterator[Row]:
    theirs = MlflowStore(space.fresh(f"mlflow-{store.root.name}") / "mlflow.db")
    written = Times(list(_filled(theirs, store)))
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
    shape = f"{amount(store.shape.runs)} runs with {amount(store.shape.points)} points"
    with serving(store.root, state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        for what, path, ask in questions:
            progress(f"{what}, among {shape}")
            ours, baseline = alternated(
                lambda path=path: _asked(client, path), ask, rounds=min(space.size.rounds, _ROUNDS)
            )
            many = Times([timed(lambda path=path: _asked(client, path)) for _ in range(max(10, space.size.rounds * 5))])
            yield Row(
                name="mlflow",
                what=f"MLflow {version}, {shape}: {what}",
                measured=str(many),
                baseline=f"{duration(baseline.p50)} (MLflow {version}, SQLite, without HTTP)",
                ratio=baseline.p50 / ours.p50,
                values={"p50": many.p50, "p99": many.p99, "mlflow": baseline.p50},
            )
        client.close()
    yield Row(
        name="mlflow",
        what=f"MLflow {version}: writing a run of {store.shape.events} events × {store.shape.metrics} metrics, one batch",
        measured="–",
        baseline=f"{written} (MLflow {version}, SQLite, without HTTP)",
        values={"p50": written.p50, "p99": written.p99},
    )


def _filled(theirs: MlflowStore, store: Store) -> Iterator[float]:
    """Seconds that the client takes for each run that it writes; after them the others are there as well."""
    progress(f"writing {len(store.runs)} runs into MLflow")
    for run in store.runs[:_BY_CLIENT]:
        yield timed(lambda run=run: theirs.add(store.root, run))
    for number, _ in enumerate(theirs.add_rows(store.root, store.runs[_BY_CLIENT:]), _BY_CLIENT + 1):
        if number % 10_000 == 0:
            progress(f"{number} of {len(store.runs)} runs are in MLflow")


def _asked(client: Client, path: str) -> None:
    answer = client.get(path)
    if answer.status != 200 or len(answer.body) < 100:
        raise RuntimeError(f"{path} is answered with {answer.status} and {len(answer.body)} bytes")
