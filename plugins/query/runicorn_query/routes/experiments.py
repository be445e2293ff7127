"""`GET /api/v2/experiments`, `GET /api/v2/experiments/{exp_id}`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import RunNotFound, Store, Stream, find_run
from runicorn_query import queries
from runicorn_query.experiments import ExperimentDetail, ExperimentPage, MetricsSummary
from runicorn_query.filters import DEFAULT_ORDER, Filter, Order, split_list
from runicorn_query.run_folder import look_at

_ROWS_ON_THE_LOOP = 200  # skipped and returned; more take a thread, so that other requests do not wait


@get("/api/v2/experiments", operation_id="list_experiments")
async def list_experiments(
    store: Store,
    project: FromQuery[str | None] = None,
    name: FromQuery[str | None] = None,
    status: FromQuery[str | None] = None,
    tags: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
    created_after: FromQuery[float | None] = None,
    created_before: FromQuery[float | None] = None,
    best_metric_min: FromQuery[float | None] = None,
    best_metric_max: FromQuery[float | None] = None,
    include_deleted: FromQuery[bool] = False,
    page: Annotated[int, QueryParameter(ge=1)] = 1,
    per_page: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
    order_by: FromQuery[str] = DEFAULT_ORDER,
    order_desc: FromQuery[bool] = True,
) -> ExperimentPage:
    """The runs that match all filters, one page of them. `status` and `tags` are comma lists: any of, and all of."""
    started = time.perf_counter()
    order = Order(order_by, order_desc)
    wanted = Filter(
        project=project,
        name=name,
        statuses=split_list(status),
        tags=split_list(tags),
        search=(search or "").strip(),
        created_after=created_after,
        created_before=created_before,
        best_metric_min=best_metric_min,
        best_metric_max=best_metric_max,
        include_deleted=include_deleted,
    )
    model = store.model("runs")
    offset = min((page - 1) * per_page, 1 << 62)  # SQLite's integers end there, and so do all lists
    if wanted.is_indexed and order.is_indexed:
        if offset + per_page <= _ROWS_ON_THE_LOOP:
            experiments, total = model.query(queries.newest, store.root, wanted, per_page, offset)
        else:
            experiments, total = await model.run(queries.newest, store.root, wanted, per_page, offset)
    else:
        experiments, total = await model.run(queries.matching, store.root, wanted, order, per_page, offset)
    return ExperimentPage(
        experiments=experiments,
        total=total,
        page=page,
        per_page=per_page,
        has_next=page * per_page < total,
        has_prev=page > 1,
        query_time_ms=round(1000 * (time.perf_counter() - started), 2),
    )


@get("/api/v2/experiments/{exp_id:str}", operation_id="get_experiment")
async def get_experiment(exp_id: FromPath[str], store: Store) -> ExperimentDetail:
    """One run, also from the recycle bin, as of now."""
    try:
        key = await find_run(store, exp_id, include_deleted=True)
        await store.catch_up("runs", Stream("run", key))
        experiment = store.model("runs").query(queries.experiment, store.root, key)
    except RunNotFound:
        raise queries.ExperimentNotFound(exp_id) from None
    folder = await asyncio.to_thread(look_at, store.root / key)
    return ExperimentDetail(experiment, MetricsSummary(), folder.has_environment, folder.file_count)
