"""`GET /api/runs`, `GET /api/runs/{run_id}`, `POST /api/status/check`."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import RUNNING, Store, Stream, conditional, find_run, strong_etag
from runicorn_runs import queries
from runicorn_runs.listing import RunListing
from runicorn_runs.liveness import Liveness
from runicorn_runs.staleness import StaleRuns


class StatusCheck(msgspec.Struct, frozen=True):
    """The answer of `POST /api/status/check`."""

    checked: int
    updated: int
    message: str


@get("/api/runs", media_type="application/json", operation_id="list_runs")
async def list_runs(request: Request[Any, Any, Any], store: Store) -> Response[list[queries.RunListItem]]:
    """All runs that are not in the recycle bin: by project, name, and the newest first."""
    store.own(Liveness).check_soon()
    listing = store.own(RunListing)
    return await conditional(request, strong_etag(*listing.version()), listing.response)


@get("/api/runs/{run_id:str}", operation_id="get_run")
async def get_run(run_id: FromPath[str], store: Store) -> queries.RunDetail:
    """One run, as of now: what its process has logged before this request is in the answer."""
    store.own(Liveness).check_soon()
    key = await find_run(store, run_id)
    await store.catch_up("runs", Stream("run", key))
    detail = store.model("runs").query(queries.run_detail, store.root, key)
    last_activity = store.own(StaleRuns).last_activity_of(key) if detail.status == RUNNING else None
    if last_activity is None:
        return detail
    return msgspec.structs.replace(detail, stale=True, last_activity=last_activity)


@post("/api/status/check", status_code=HTTP_200_OK, operation_id="check_status")
async def check_status(store: Store) -> StatusCheck:
    """Look for runs whose process is gone, and mark them `failed`. The body is ignored."""
    checked, updated = await store.own(Liveness).check()
    return StatusCheck(checked, updated, f"Checked {checked} running experiments, updated {updated} statuses")
