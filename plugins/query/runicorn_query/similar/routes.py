"""`GET /api/v2/experiments/{exp_id}/similar`."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from runicorn.plugin import RunNotFound, Store, Stream, find_run
from runicorn_query.queries import ExperimentNotFound
from runicorn_query.similar.nearest import SimilarRuns
from runicorn_query.similar.vectors import Vectors


@get("/api/v2/experiments/{exp_id:str}/similar", operation_id="similar_experiments")
async def similar_experiments(
    exp_id: FromPath[str],
    store: Store,
    k: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    metric_weight: Annotated[float, QueryParameter(ge=0, le=1)] = 0.5,
) -> SimilarRuns:
    """The runs that are most like this one, in their metric curves and their configuration.

    `metric_weight` says how much the curves count; the configuration counts the rest. Runs in the recycle bin are left out,
    but may be asked about.
    """
    try:
        key = await find_run(store, exp_id, include_deleted=True)
        await store.catch_up("runs", Stream("run", key))
        return await store.own(Vectors).nearest(key, k, metric_weight)
    except RunNotFound:
        raise ExperimentNotFound(exp_id) from None
