"""V2: the newest 50 of many runs with the exact total, filtered and not, and the search in names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from urllib.parse import urlencode

from benchmarks.baseline import Experiments
from benchmarks.client import Client, requests_per_second
from benchmarks.figures import Times, alternated, amount, duration, timed
from benchmarks.served import Served, serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_PATH = "/api/v2/experiments"
_CLIENTS = 8
_LENGTHS = range(26, 75)
"""Of pages, 50 on average: more different ones than the server keeps encoded."""
_PROJECT = "vision"
_NEEDLE = "dIsTi"
_Q = "metric.loss.min < 1.5 and summary.optimizer = adamw and metric.accuracy.last > 0.5"
_TEXT_Q = 'summary.optimizer ~ DAM and summary.schedule ~ "À 30 ÉPOQUES" and not name ~ "-É"'


def newest(space: Workspace) -> Iterator[Row]:
    """Rows for the first page of the list, at both numbers of runs."""
    for store, state in ((space.listed, space.listed_state), (space.short, space.short_state)):
        theirs = Experiments(store.root, space.directory / f"baseline-v2-{store.root.name}.db")
        with serving(store.root, state) as server:
            client = Client(server.url)
            server.wait_until_level(client, store.shape.runs)
            client.close()
            runs = f"V2 list of the newest 50 of {amount(store.shape.runs)} runs"
            yield _newest(space, server, runs, _PATH, theirs.page)
            yield _newest(
                space,
                server,
                f"{runs}, filtered by project and status",
                f"{_PATH}?project={_PROJECT}&status=finished",
                lambda theirs=theirs: theirs.page("project = ? AND status = ?", _PROJECT, "finished"),
            )


def _newest(space: Workspace, server: Served, what: str, path: str, theirs: Callable[[], object]) -> Row:
    client = Client(server.url)  # one of its own: the server closes connections that idle during the load below

    def ask() -> None:
        client.get(path)

    _check(client, path)
    ours, baseline = alternated(ask, theirs, rounds=max(10, space.size.requests // 20))
    times = Times([timed(ask) for _ in range(space.size.requests)])
    lengths = islice(cycle(_LENGTHS), max(10, space.size.requests // 3))
    anew = [f"{path}{'&' if '?' in path else '?'}per_page={length}" for length in lengths]
    made = Times([timed(lambda page=page: client.get(page)) for page in anew])
    client.close()
    rate = requests_per_second(server.url, path, _CLIENTS, space.size.load_s)
    return Row(
        name="v2-newest",
        what=what,
        budget=f"p50 ≤ 0.6 ms, ≥ 3 000 requests/s with {_CLIENTS} clients",
        measured=f"{times}; {amount(rate)} requests/s with {_CLIENTS} clients; a page that nobody asked for before: {made}",
        baseline=f"{duration(baseline.p50)}, without HTTP",
        ratio=baseline.p50 / ours.p50,
        met=(times.p50 <= 0.0006 and rate >= 3000) if space.size.name == "full" else None,
        values={
            "p50": times.p50, "p99": times.p99, "requests_per_s": rate, "p50 anew": made.p50, "baseline": baseline.p50,
        },
    )  # fmt: skip


def search(space: Workspace) -> Iterator[Row]:
    """The row for the search in names, which every run must be compared with."""
    store = space.short
    path = f"{_PATH}?search={_NEEDLE}"
    with serving(store.root, space.short_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        _check(client, path)
        times = Times([timed(lambda: client.get(path)) for _ in range(max(10, space.size.requests // 20))])
        client.close()
    theirs = Experiments(store.root, space.directory / "baseline-v2-search.db")
    pattern = f"%{_NEEDLE}%"
    condition = ("project LIKE ? OR name LIKE ? OR id LIKE ?", pattern, pattern, pattern)
    baseline = Times([timed(lambda: theirs.page(*condition)) for _ in range(space.size.rounds)])
    yield Row(
        name="v2-search",
        what=f"V2 substring search in the names of {amount(store.shape.runs)} runs, page and exact total",
        budget="≤ 20 ms",
        measured=str(times),
        baseline=f"{duration(baseline.p50)}, without HTTP",
        ratio=baseline.p50 / times.p50,
        met=times.p50 <= 0.020 if space.size.name == "full" else None,
        values={"p50": times.p50, "p99": times.p99, "baseline": baseline.p50},
    )


_QUERIES = (
    ("`q=` with three tests, page and exact total", "≤ 40 ms", 0.040, {"q": _Q}),
    ("`q=` with three times `~`, and text beyond ASCII", "≤ 40 ms", 0.040, {"q": _TEXT_Q}),
    ("`q=` that is refused", "≤ 50 ms", 0.050, {"q": "(" * 2000}),
    ("four filters, sorted by the best metric", "≤ 85 ms", 0.085, {
        "project": _PROJECT, "status": "finished,failed", "best_metric_min": "0.2", "created_after": "1700000000",
        "order_by": "best_metric_value",
    }),
    ("all runs, sorted by the last change", "≤ 68 ms", 0.068, {"order_by": "updated_at"}),
    ("all runs, sorted by a metric", "≤ 68 ms", 0.068, {"order_by": "metric.loss.min", "order_desc": "false"}),
)  # fmt: skip


def queries(space: Workspace) -> Iterator[Row]:
    """Rows for lists that counters and indexes alone cannot answer; the budgets of sorted ones are for 10 000 runs."""
    store = space.short
    runs = amount(store.shape.runs)
    with serving(store.root, space.short_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        for what, budget, seconds, query in _QUERIES:
            path = f"{_PATH}?{urlencode(query)}"
            times = Times(
                [timed(lambda path=path: client.get(path)) for _ in range(max(10, space.size.requests // 20))]
            )
            rate = requests_per_second(server.url, path, _CLIENTS, space.size.load_s, status=client.get(path).status)
            yield Row(
                name="v2-queries",
                what=f"V2 list of {runs} runs: {what}",
                budget=budget,
                measured=f"{times}; {amount(rate)} requests/s with {_CLIENTS} clients",
                met=times.p50 <= seconds if space.size.name == "full" else None,
                values={"p50": times.p50, "p99": times.p99, "requests_per_s": rate},
            )
        client.close()


def _check(client: Client, path: str) -> None:
    answer = client.get(path)
    if answer.status != 200 or b'"id":' not in answer.body:
        raise RuntimeError(f"{path} is answered with {answer.status} and {len(answer.body)} bytes")
