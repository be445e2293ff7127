"""`GET /api/artifacts/{name}/history`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from runicorn.plugin import HistoryEntry, Store, Stream, history_page, history_wanted, presentable
from runicorn_artifacts.history.labels import ARTIFACT_HISTORY
from runicorn_artifacts.history.telling import ArtifactTeller
from runicorn_artifacts.routes.resolving import PLUGIN, find_artifact


class ArtifactHistory(msgspec.Struct, frozen=True):
    """The answer of `GET /api/artifacts/{name}/history`."""

    name: str
    type: str
    entries: list[HistoryEntry]
    next_cursor: str | None
    """For `cursor`: the page behind this one, also if events were added meanwhile. Null at the end."""


@get("/api/artifacts/{name:str}/history", operation_id="get_artifact_history")
async def artifact_history(
    name: FromPath[str],
    store: Store,
    type: FromQuery[str | None] = None,
    types: FromQuery[str | None] = None,
    order_desc: FromQuery[bool] = True,
    per_page: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
    cursor: FromQuery[str | None] = None,
) -> ArtifactHistory:
    """What happened to an artifact: versions, aliases, deletions, stages, evaluations; and what changed from what to what.

    `type` is the artifact's, `types` a comma list of event types, such as `artifact.aliased`; without `order_desc` the oldest
    come first. `cursor` goes on where an earlier answer's `next_cursor` says.
    """
    wanted = history_wanted(types, newest_first=order_desc, limit=per_page, cursor=cursor)
    artifact = await find_artifact(store, name, type)
    await store.catch_up(PLUGIN, Stream("artifact", artifact.key))
    page = await store.model(PLUGIN).run(
        history_page, store.log, ARTIFACT_HISTORY, ArtifactTeller(), artifact.key, wanted
    )
    return ArtifactHistory(
        artifact.name,
        artifact.type,
        [presentable(entry) for entry in page.entries],
        None if page.next is None else page.next.encode(),
    )
