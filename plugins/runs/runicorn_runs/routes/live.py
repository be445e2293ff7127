"""`/api/events/stream` (Server-Sent Events) and `/api/events/ws` (WebSocket): what happens, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from litestar import Request, Response, get, websocket
from litestar.params import FromQuery
from litestar.response import Stream as StreamedResponse

from runicorn.plugin import RunicornError, Store, dump_json, limited_client
from runicorn_runs.live.filters import Wanted
from runicorn_runs.live.notices import HEARTBEAT, Notice
from runicorn_runs.live.stream import LiveStreams, SlowClient, TooManyStreams, read_position
from runicorn_runs.sockets import ClientGone, Socket, SocketClient

PATH = "/api/events/ws"

_BAD_INPUT, _TRY_LATER, _GOING_AWAY, _BUG = 1008, 1013, 1001, 1011
_NOT_STORED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@get("/api/events/stream", media_type="text/event-stream", operation_id="event_stream", summary="Live events (SSE)")
async def event_stream(
    request: Request[Any, Any, Any],
    store: Store,
    run: FromQuery[list[str] | None] = None,
    project: FromQuery[list[str] | None] = None,
    type: FromQuery[list[str] | None] = None,
    since: FromQuery[str | None] = None,
) -> StreamedResponse:
    """Server-Sent Events: one JSON object for each thing that happens to a run or an artifact, as long as the client stays.

    `run` (an id, or a path below the root), `project` and `type` choose, and may be repeated; `type` may be a list with
    commas, and `run.` stands for all types that begin so. `since`, or the header `Last-Event-ID`, is the id to go on from.
    """
    wanted = Wanted.read(run or (), project or (), type or ())
    if since is not None:
        since = read_position(since)
    since = request.headers.get("last-event-id") or since  # a browser reconnects with the old address and a new header
    streams = store.own(LiveStreams)
    client = limited_client(request)
    await streams.open(client)
    messages = streams.messages(wanted, since, client)
    return StreamedResponse(_as_events(messages), media_type="text/event-stream", headers=_NOT_STORED)


@websocket(PATH)
async def event_socket(socket: Socket, store: Store) -> None:
    """The same as `/api/events/stream`: one text frame for each JSON object."""
    client = SocketClient(socket)
    with contextlib.suppress(ClientGone):
        await client.accept()
        given = socket.query_params
        wanted = Wanted.read(given.getall("run", []), given.getall("project", []), given.getall("type", []))
        streams = store.own(LiveStreams)
        counted_as = limited_client(socket)
        try:
            since = given.getall("since", [""])[-1]
            since = read_position(since) if since else None
            await streams.open(counted_as)
        except RunicornError as error:
            await _refuse(client, error)
            return
        left = asyncio.create_task(client.gone())
        sending = asyncio.create_task(_send_all(client, streams.messages(wanted, since, counted_as)))
        try:
            await asyncio.wait((left, sending), return_when=asyncio.FIRST_COMPLETED)
            if not left.done():
                await client.close(sending.result())
        finally:
            for task in (left, sending):
                task.cancel()
            await asyncio.gather(left, sending, return_exceptions=True)


@get(PATH, sync_to_thread=False, status_code=426, summary="Live events (WebSocket)")
def events_not_upgraded() -> Response[dict[str, str]]:
    """Open this path as a WebSocket: text frames, one JSON object each.

    Parameters and messages are those of `/api/events/stream`.
    """
    return Response(
        {"detail": "This path is a WebSocket: connect with ws:// or wss://"},
        status_code=426,
        headers={"Upgrade": "websocket"},
    )


async def _send_all(client: SocketClient, messages: AsyncGenerator[list[Notice]]) -> int:
    """Send messages until there are no more; the code to close with. ClientGone."""
    async with contextlib.aclosing(messages):
        try:
            async for notices in messages:
                for notice in notices:
                    await client.send(notice.text)
        except (SlowClient, TooManyStreams):
            return _TRY_LATER
        except RunicornError:
            return _TRY_LATER
    return _GOING_AWAY


async def _refuse(client: SocketClient, error: RunicornError) -> None:
    await client.send(dump_json({"type": "error", "detail": str(error)}).decode())
    await client.close(_BAD_INPUT if error.status == 400 else _TRY_LATER)


async def _as_events(messages: AsyncGenerator[list[Notice]]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(messages):
        with contextlib.suppress(SlowClient, RunicornError):  # the answer has begun: it can only end
            async for notices in messages:
                yield _event_text(notices)


def _event_text(notices: Sequence[Notice]) -> bytes:
    return "".join(
        # Without data nothing is dispatched, but the client remembers the id.
        f": \nid: {notice.position}\n\n"
        if notice.type == HEARTBEAT
        else f"id: {notice.position}\ndata: {notice.text}\n\n"
        for notice in notices
    ).encode()
