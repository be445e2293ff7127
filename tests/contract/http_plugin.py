"""The routes that the tests of HTTP rules call; the module is installed as the plugin `probe`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from litestar import Request, Response, WebSocket, get, post, websocket
from litestar.params import FromPath, FromQuery, JSONBody

from runicorn.plugin import Store, conditional, hookimpl, limited_client, weak_etag


class Wanted(msgspec.Struct):
    run_id: str
    count: int = 1
    note: str | None = None
    password: str | None = None


@get("/api/probe/items/{item_id:str}", sync_to_thread=False)
def item(item_id: FromPath[str], store: Store) -> dict[str, str]:
    return {"id": item_id, "storage": str(store.root)}


@get("/api/probe/typed", keep_empty=["raw"], sync_to_thread=False)
def typed(
    number: FromQuery[int] = 5,
    ratio: FromQuery[float | None] = None,
    flag: FromQuery[bool] = False,
    text: FromQuery[str | None] = None,
    raw: FromQuery[str | None] = None,
) -> dict[str, Any]:
    return {"number": number, "ratio": ratio, "flag": flag, "text": text, "raw": raw}


@get("/api/probe/needs", sync_to_thread=False)
def needs(metric: FromQuery[str]) -> dict[str, str]:
    return {"metric": metric}


@post("/api/probe/body", status_code=200, sync_to_thread=False)
def body(data: JSONBody[Wanted], store: Store) -> Wanted:
    return data


@post("/api/probe/ignores", status_code=200, sync_to_thread=False)
def ignores() -> dict[str, bool]:
    return {"ok": True}


@get("/api/probe/bug", sync_to_thread=False)
def bug() -> dict[str, str]:
    raise ValueError("/secret/place is broken")


@get("/api/probe/odd", sync_to_thread=False)
def odd() -> dict[str, Any]:
    return {"nan": float("nan"), "huge": 10**30, "zero": -0.0, "text": "caf\xe9 \ud800!"}


@get("/api/probe/slow")
async def slow() -> dict[str, bool]:
    def work() -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            sum(range(1000))

    await asyncio.to_thread(work)
    return {"done": True}


@get("/api/probe/stuck")
async def stuck() -> dict[str, bool]:
    await asyncio.to_thread(time.sleep, 600)
    return {"done": True}


@websocket("/api/probe/deaf")
async def deaf(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("x")
    await asyncio.sleep(600)


@get("/api/probe/cached")
async def cached(request: Request[Any, Any, Any]) -> Response[dict[str, int]]:
    return await conditional(request, weak_etag("build", 7), lambda: {"answer": 42}, counted=True)


@get("/api/probe/secret", has_secrets=True, sync_to_thread=False)
def secret() -> dict[str, str]:
    return {"reference": "saved:x"}


@websocket("/api/probe/ws")
async def talk(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(str(limited_client(socket)))
    while True:
        await socket.receive_text()


@post("/probe-outside", status_code=200, sync_to_thread=False)
def outside(data: JSONBody[Wanted]) -> Wanted:
    return data


@hookimpl
def runicorn_routes() -> list[Any]:
    return [item, typed, needs, body, ignores, bug, odd, slow, cached, secret, stuck, talk, deaf, outside]


@hookimpl
def runicorn_rate_limits() -> dict[str, int]:
    return {"GET /api/probe/typed": 1000, "POST /api/probe/body": 1000, "GET /api/probe/needs": 3}
