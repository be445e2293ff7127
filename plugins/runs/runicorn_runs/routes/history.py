"""`GET /api/v2/experiments/{exp_id}/history`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import (
    HistoryEntry,
    NotFound,
    RunNotFound,
    Store,
    Stream,
    find_run,
    history_page,
    history_wanted,
    presentable,
    shown,
)
from runicorn_runs.history.labels import RUN_HISTORY
from runicorn_runs.history.masses import Mass, masses
from runicorn_runs.history.telling import RunTeller


class RunHistory(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v2/experiments/{exp_id}/history`."""

    run_id: str = msgspec.field(name="id")
    run: str
    """The run's path below the storage root."""
    entries: list[HistoryEntry]
    summarized: list[Mass]
    """What is logged in masses, and not listed one by one: metric events and images."""
    next_cursor: str | None
    """For `cursor`: the page behind this one, also if events were added meanwhile. Null at the end."""


@get("/api/v2/experiments/{exp_id:str}/history", operation_id="get_experiment_history")
async def experiment_history(
    exp_id: FromPath[str],
    store: Store,
    types: FromQuery[str | None] = None,
    order_desc: FromQuery[bool] = True,
    per_page: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
    cursor: FromQuery[str | None] = None,
) -> RunHistory:
    """What happened to a run, event by event: when, who said so, and what changed from what to what.

    Also of a run in the recycle bin. `types` is a comma list of event types, such as `run.tagged,run.deleted`; without
    `order_desc` the oldest come first. `cursor` goes on where an earlier answer's `next_cursor` says.
    """
    wanted = history_wanted(types, newest_first=order_desc, limit=per_page, cursor=cursor)
    try:
        key = await find_run(store, exp_id, include_deleted=True)
    except RunNotFound:
        raise NotFound(f"Experiment {shown(exp_id)} not found") from None
    await store.catch_up("runs", Stream("run", key))
    model = store.model("runs")
    page = await model.run(history_page, store.log, RUN_HISTORY, RunTeller(), key, wanted)
    summarized = await model.run(masses, key)
    return RunHistory(
        key.rpartition("/")[2],
        key,
        [presentable(entry) for entry in page.entries],
        summarized,
        None if page.next is None else page.next.encode(),
    )
