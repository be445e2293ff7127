"""`GET /api/v2/search`."""

from __future__ import annotations

from typing import Annotated, cast

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.params import FromQuery, QueryParameter

from runicorn.plugin import BadInput, Store, find_run
from runicorn_query.filters import split_list
from runicorn_query.search.hits import KINDS, Kind, SearchAnswer
from runicorn_query.search.log_index import LogIndex
from runicorn_query.search.searching import Request

_LONGEST = 500


@get("/api/v2/search", operation_id="search", raises=[NotFoundException])
async def search(
    store: Store,
    q: FromQuery[str],
    project: FromQuery[str | None] = None,
    run: FromQuery[str | None] = None,
    status: FromQuery[str | None] = None,
    kind: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 20,
    cursor: FromQuery[str | None] = None,
) -> SearchAnswer:
    """Runs and lines of their logs that hold the text `q`, in any case.

    `project` and `run` (an id) are exact, `status` and `kind` comma lists of which any counts. Kinds are name, project, tag,
    description, note (text under `note` or `notes` in summary and configuration), id and log. Runs in the recycle bin are
    not searched.
    """
    if not q.strip():
        raise BadInput("Missing required parameter: q")
    if len(q) > _LONGEST:
        raise BadInput(f"Invalid value for q: must be at most {_LONGEST} characters")
    request = Request(
        query=q,
        kinds=cast("tuple[Kind, ...]", split_list(kind)) or KINDS,
        project=project,
        statuses=split_list(status),
        run=None if run is None else await find_run(store, run),
        limit=limit,
        cursor=cursor,
    )
    return await store.own(LogIndex).search(request)
