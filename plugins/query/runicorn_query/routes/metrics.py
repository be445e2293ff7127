"""`GET /api/v2/experiments/{exp_id}/metrics/fast`, `POST /api/v2/metrics/compare`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import apsw
import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK

from runicorn.columns import Table
from runicorn.plugin import BadInput, ModelReader, Pieces, RunNotFound, Store, Stream, conditional, find_run, weak_etag
from runicorn_query.plots.comparing import ComparedRun, Comparison, compared_runs
from runicorn_query.plots.drawing import Envelope, draw
from runicorn_query.plots.formats import MEDIA_TYPES, Format, chosen_format, encode_arrow, encode_csv, encode_json
from runicorn_query.plots.request import Axis, PlotRequest, parse_metric_names, parse_step_range
from runicorn_query.plots.streaming import LongPlot
from runicorn_query.queries import ExperimentNotFound

_MOST_RUNS = 100
_MOST_POINTS = 10_000


class AppliedFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer was narrowed by."""

    metrics: list[str] | None
    step_range: tuple[int, int] | None
    downsampled: bool
    """Whether rows were left out."""
    x: Axis = "step"
    smoothing: float = 0.0


class FastMetrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows ascending by x; every row has every column, null where there is no finite number."""

    columns: list[str]
    rows: list[dict[str, float | int | bool | None]]
    query_time_ms: float
    total_points: int
    source_points: int
    """Rows before any was left out."""
    applied_filters: AppliedFilters
    envelope: Envelope | None = None
    """Only where it was asked for."""


class CompareBody(msgspec.Struct, frozen=True):
    """The curves to lay over each other."""

    runs: list[str]
    """Ids, at most 100."""
    metrics: list[str] | None = None
    """None: all that a run has."""
    downsample: int = 500
    """At most that many points of each curve."""
    x: str = "step"
    smoothing: float = 0.0


@get(
    "/api/v2/experiments/{exp_id:str}/metrics/fast",
    operation_id="fast_metrics",
    checks={"step_range": parse_step_range},
)
async def fast_metrics(
    exp_id: FromPath[str],
    request: Request[Any, Any, Any],
    store: Store,
    metric_names: FromQuery[str | None] = None,
    metrics: FromQuery[str | None] = None,
    step_range: FromQuery[str | None] = None,
    downsample: Annotated[int | None, QueryParameter(ge=1)] = None,
    x: FromQuery[str] = "step",
    start: Annotated[float | None, QueryParameter(name="from")] = None,
    end: Annotated[float | None, QueryParameter(name="to")] = None,
    smoothing: FromQuery[float] = 0.0,
    envelope: FromQuery[bool] = False,
) -> Response[FastMetrics]:
    """The numeric metrics of a run, merged by step. What was logged before this request is in the answer.

    `metric_names` (or `metrics`) is a comma list; `step_range` is `min:max`, both included; `downsample` the largest number
    of rows. `x` is `step`, `time` (seconds since the run's first event) or `wall` (Unix seconds); `from` and `to` are the
    first and the last x. `smoothing` (0 to less than 1) is TensorBoard's moving average over all rows in the range.
    `envelope` adds each metric's smallest and largest value in ranges of x. `Accept: text/csv` and
    `application/vnd.apache.arrow.stream` are answered in these formats.
    """
    started = time.perf_counter()
    wanted = PlotRequest(
        metrics=parse_metric_names(metric_names) or parse_metric_names(metrics),
        steps=parse_step_range(step_range),
        x=x,  # type: ignore[arg-type]  # checked there
        start=start,
        end=end,
        most=downsample,
        smoothing=smoothing,
        envelope=envelope,
    )
    form = chosen_format(request.headers.get("accept"))
    try:
        stream = Stream("run", await find_run(store, exp_id, include_deleted=True))
    except RunNotFound:
        raise ExperimentNotFound(exp_id) from None
    await store.catch_up("runs", stream)
    model = store.model("runs")

    async def answer() -> Response[Any]:
        pieces = await model.run(_pieces, model, stream.name, wanted, form, started)
        return pieces.response({"vary": "accept"})

    is_counted = model.checkpoint(stream) is not None
    return await conditional(request, weak_etag(*model.content(stream), form), answer, counted=is_counted)


@post("/api/v2/metrics/compare", status_code=HTTP_200_OK, operation_id="compare_metrics", only_reads=True)
async def compare_metrics(data: JSONBody[CompareBody], store: Store) -> Comparison:
    """The same metrics of several runs, each curve made small on its own. Runs that are unknown are named in `missing`."""
    started = time.perf_counter()
    ids = list(dict.fromkeys(data.runs))
    if not ids:
        raise BadInput("runs is required")
    if len(ids) > _MOST_RUNS:
        raise BadInput(f"Cannot compare more than {_MOST_RUNS} runs at once")
    if not 1 <= data.downsample <= _MOST_POINTS:
        raise BadInput(f"Invalid value for downsample: must be 1 to {_MOST_POINTS}")
    names = None if data.metrics is None else tuple(dict.fromkeys(data.metrics))
    wanted = PlotRequest(metrics=names, most=data.downsample, x=data.x, smoothing=data.smoothing)  # type: ignore[arg-type]  # `PlotRequest` checks it
    keys: dict[str, str] = {}
    missing: list[str] = []
    for run_id in ids:
        try:
            keys[run_id] = await find_run(store, run_id, include_deleted=True)
        except RunNotFound:
            missing.append(run_id)
    for key in keys.values():
        await store.catch_up("runs", Stream("run", key))
    model = store.model("runs")
    runs: list[ComparedRun] = []
    for run_id, key in keys.items():  # one at a time: others want the threads, too
        runs += await model.run(compared_runs, run_id, key, wanted)
    return Comparison(
        x=wanted.x,
        runs=runs,
        missing=missing,
        smoothing=wanted.smoothing,
        query_time_ms=round(1000 * (time.perf_counter() - started), 2),
    )


def _pieces(
    db: apsw.Connection, model: ModelReader, key: str, wanted: PlotRequest, form: Format, started: float
) -> Pieces:
    """The answer about one run. On a thread."""
    long = LongPlot.of(model, db, key, wanted)
    plot = draw(db, key, wanted) if long is None else long

    def rest() -> dict[str, Any]:
        rows, source = plot.rows, plot.source_points
        applied = AppliedFilters(
            metrics=None if wanted.metrics is None else list(wanted.metrics),
            step_range=wanted.steps,
            downsampled=rows < source,
            x=wanted.x,
            smoothing=wanted.smoothing,
        )
        said: dict[str, Any] = {
            "query_time_ms": round(1000 * (time.perf_counter() - started), 2),
            "total_points": rows,
            "source_points": source,
            "applied_filters": applied,
        }
        return said if plot.envelope is None else {**said, "envelope": plot.envelope}

    return Pieces(_encoded(form, plot.keys, plot.tables(), rest), MEDIA_TYPES[form])


def _encoded(
    form: Format, keys: tuple[str, ...], tables: Iterable[Table], rest: Callable[[], dict[str, Any]]
) -> Iterator[bytes]:
    match form:
        case "json":
            return encode_json(keys, tables, rest)
        case "csv":
            return encode_csv(keys, tables)
        case "arrow":
            return encode_arrow(keys, tables)
