"""Health, answers that a client has already, and the documentation of all routes. Over real HTTP against a real server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import httpx
import pytest

from tests.contract.http_rules.answers import RATE_HEADERS
from tests.faults.harness import projector_pid
from tests.serving import wait_until
from tests.stores import make_run, metrics_event


def test_health_has_the_fields_of_the_contract(server):
    wait_until(lambda: server.http.get("/api/health").json()["projector"]["state"] == "live", "the projector")
    body = server.http.get("/api/health").json()

    assert body["status"] == "ok"
    assert body["version"] == "0.4.0"
    assert abs(body["timestamp"] - time.time()) < 60
    assert body["storage"] == str(server.root)
    assert body["plugins"]["probe"] == {"status": "ok", "detail": None}
    assert body["projector"]["restarts"] == 0
    for what in ("streams", "events", "bytes"):
        assert body["projector"][f"behind_{what}"] in (0, None)
    assert set(body["cache"]) == {"enabled", "hit_rate", "hits", "misses", "size", "max_size"}


def test_a_client_that_has_the_answer_gets_304_and_the_cache_counts_it(server):
    before = server.http.get("/api/health").json()["cache"]
    full = server.http.get("/api/probe/cached")
    again = server.http.get("/api/probe/cached", headers={"if-none-match": f'"other", {full.headers["etag"]}'})
    after = server.http.get("/api/health").json()["cache"]

    assert full.json() == {"answer": 42}
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == full.headers["etag"]
    assert set(RATE_HEADERS) <= set(again.headers)
    assert (after["hits"], after["misses"]) == (before["hits"] + 1, before["misses"] + 1)
    assert after["hit_rate"].endswith("%")


def test_health_answers_while_a_long_computation_runs(server):
    worker = threading.Thread(target=httpx.get, args=(f"{server.url}/api/probe/slow",), kwargs={"timeout": 30})
    worker.start()
    answered_meanwhile = 0
    while worker.is_alive():
        assert server.http.get("/api/health").status_code == 200
        answered_meanwhile += 1
    worker.join()

    assert answered_meanwhile >= 10


def test_health_says_that_the_lag_is_unknown_while_the_projector_stands_still(serve):
    server = serve()
    server.wait_until_live()
    projector = projector_pid(server)
    os.kill(projector, signal.SIGSTOP)
    try:
        make_run(server.root, "p/n/runs/a", events=metrics_event(loss=0.5))
        silent = server.health()
    finally:
        os.kill(projector, signal.SIGCONT)
    assert silent["status"] == "ok"
    assert silent["projector"]["state"] == "busy"
    assert {silent["projector"][name] for name in ("lag_s", "behind_streams", "behind_events")} == {None}
    wait_until(lambda: server.http.get("/api/runs/a").status_code == 200, "the run")
    server.wait_until_visible()
    wait_until(lambda: server.health()["projector"]["lag_s"] == 0.0, "no lag")


def test_every_route_is_documented_with_its_errors(server):
    document = server.http.get("/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == "0.4.0"
    assert {"/api/health", "/api/probe/items/{item_id}", "/api/probe/body"} <= set(document["paths"])
    for item in document["paths"].values():
        for operation in item.values():
            assert {"400", "403", "429", "500"} <= set(operation["responses"])
    assert "status_code" not in json.dumps(document["components"])


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_documentation_pages_need_nothing_from_elsewhere(server, page):
    response = server.http.get(page)

    assert response.headers["content-type"].startswith("text/html")
    assert "http://" not in response.text
    assert "https://" not in response.text
    assets = [part.split('"')[0] for part in response.text.split('="')[1:] if part.startswith("/docs/assets/")]
    assert len(assets) >= 3
    for asset in assets:
        answer = server.http.get(asset)
        assert answer.status_code == 200, asset
        assert len(answer.content) > 10
