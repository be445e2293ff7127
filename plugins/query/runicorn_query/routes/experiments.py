"""`GET /api/v2/experiments`, `GET /api/v2/experiments/{exp_id}`, `POST /api/v2/experiments/batch-delete`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, cast

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import BadInput, RunNotFound, Store, Stream, check_run_ids, find_run, soft_delete
from runicorn_query import queries
from runicorn_query.experiments import Experiment, ExperimentDetail, ExperimentPage, Facets, View
from runicorn_query.filters import Filter, split_list
from runicorn_query.kept_pages import KeptPages
from runicorn_query.language import parse
from runicorn_query.ordering import DEFAULT_ORDER, Order
from runicorn_query.run_folder import look_at
from runicorn_query.timing import QueryTimes

_ROWS_ON_THE_LOOP = 200  # skipped and returned; more take a thread, so that other requests do not wait
_MOST_DELETED = 1000
_LONGEST_REASON = 500


@get("/api/v2/experiments", operation_id="list_experiments", checks={"order_by": Order, "q": parse})
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
    q: FromQuery[str | None] = None,
    include_deleted: FromQuery[bool] = False,
    page: Annotated[int, QueryParameter(ge=1)] = 1,
    per_page: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
    cursor: FromQuery[str | None] = None,
    order_by: FromQuery[str] = DEFAULT_ORDER,
    order_desc: FromQuery[bool] = True,
    facets: FromQuery[bool] = False,
) -> ExperimentPage:
    """The runs that match all filters, one page of them. `status` and `tags` are comma lists: any of, and all of.

    `q` is a condition in the filter language, such as `metric.loss.min < 0.3 and not tag = broken`. `cursor` goes on where
    an earlier answer's `next_cursor` says. `order_by` is a field of the items, `summary.KEY`, `config.KEY` or
    `metric.NAME.last|min|max|count`.
    """
    started = time.perf_counter()
    order = Order(order_by, order_desc)
    after = order.after(cursor)
    if after is not None and page != 1:
        raise BadInput("Invalid value for cursor: goes without page")
    wanted = queries.Wanted(
        Filter(
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
            expression=parse(q) if q and q.strip() else None,
        ),
        order,
        limit=per_page,
        offset=min((page - 1) * per_page, 1 << 62),  # SQLite's integers end there, and so do all lists
        after=after,
        facets=facets,
    )
    model = store.model("runs")
    view = View.of(store)
    is_counted = wanted.filter.is_counted and order.is_newest_first and not facets
    counts: Facets | msgspec.UnsetType = msgspec.UNSET
    if is_counted and wanted.offset + per_page <= _ROWS_ON_THE_LOOP:
        kept = model.query(store.own(KeptPages).newest, view, wanted)
        total, next_cursor = kept.total, kept.next_cursor
        experiments = cast("list[Experiment]", kept.experiments)  # encoded already
    else:
        found = await model.run(queries.newest if is_counted else queries.matching, view, wanted)
        experiments, total = found.experiments, found.total
        next_cursor = None if found.next is None else found.next.encode()
        counts = msgspec.UNSET if found.facets is None else found.facets
    return ExperimentPage(
        experiments=experiments,
        total=total,
        page=page,
        per_page=per_page,
        has_next=page * per_page < total if after is None else next_cursor is not None,
        has_prev=page > 1 or after is not None,
        query_time_ms=store.own(QueryTimes).add(1000 * (time.perf_counter() - started)),
        next_cursor=next_cursor,
        facets=counts,
    )


@get("/api/v2/experiments/{exp_id:str}", operation_id="get_experiment")
async def get_experiment(exp_id: FromPath[str], store: Store) -> ExperimentDetail:
    """One run, also from the recycle bin, as of now."""
    return await _detail(exp_id, store)


@get("/api/v2/experiments/batch-delete", include_in_schema=False)
async def get_experiment_so_named(store: Store) -> ExperimentDetail:
    """To a GET, the path of the command below is an id like any other."""
    return await _detail("batch-delete", store)


async def _detail(exp_id: str, store: Store) -> ExperimentDetail:
    started = time.perf_counter()
    try:
        key = await find_run(store, exp_id, include_deleted=True)
        await store.catch_up("runs", Stream("run", key))
        experiment, metrics = store.model("runs").query(queries.experiment, View.of(store), key)
    except RunNotFound:
        raise queries.ExperimentNotFound(exp_id) from None
    store.own(QueryTimes).add(1000 * (time.perf_counter() - started))
    folder = await asyncio.to_thread(look_at, store.root / key)
    return ExperimentDetail(experiment, metrics, folder.has_environment, folder.file_count)


class BatchDeletion(msgspec.Struct, frozen=True):
    """The answer of `POST /api/v2/experiments/batch-delete`."""

    deleted: int
    failed: int
    results: dict[str, bool]
    """By id, each once: whether this request has deleted it."""
    deleted_count: int
    """The same as `deleted`."""
    message: str


@post("/api/v2/experiments/batch-delete", status_code=HTTP_200_OK, operation_id="batch_delete_experiments")
async def batch_delete(data: JSONBody[dict[str, Any]], store: Store) -> BatchDeletion:
    """Put runs into the recycle bin: `exp_ids` is a list of at most 1000 ids, `reason` says why."""
    exp_ids = _exp_ids(data.get("exp_ids"))
    run_ids = await check_run_ids(store, exp_ids)
    outcomes = await soft_delete(store, run_ids, reason=_reason(data.get("reason")))
    results = {run_id: failure is None for run_id, failure in outcomes.items()}
    deleted = sum(results.values())
    message = f"Soft deleted {deleted} of {len(results)} runs"
    return BatchDeletion(deleted, len(results) - deleted, results, deleted, message)


def _exp_ids(value: object) -> list[str]:
    if value is None or value in ([], ""):
        raise BadInput("exp_ids is required")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[object]", value)):
        raise BadInput("Invalid value for exp_ids: must be a list of strings")
    exp_ids = cast("list[str]", value)
    if len(exp_ids) > _MOST_DELETED:
        raise BadInput(f"Cannot delete more than {_MOST_DELETED} experiments at once")
    return exp_ids


def _reason(value: object) -> str:
    if value is None:
        return "user_batch_delete"
    if not isinstance(value, str) or len(value) > _LONGEST_REASON:
        raise BadInput(f"Invalid value for reason: must be a string of at most {_LONGEST_REASON} characters")
    return value
