"""The rules that hold for every endpoint, over real HTTP against a real server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.faults.harness import projector_pid
from tests.plugin_on_path import PluginDirectory
from tests.promises import ENDED_S
from tests.serving import Server, wait_until
from tests.stores import make_run, metrics_event

PROBE = (Path(__file__).parent / "http_plugin.py").read_text()
RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
DEVELOPMENT = "http://localhost:5173"


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> PluginDirectory:
    directory = PluginDirectory(tmp_path_factory.mktemp("plugins"))
    directory.add("probe", PROBE)
    return directory


@pytest.fixture(scope="module")
def server(plugins: PluginDirectory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server without rate limits, for all tests that do not change it."""
    root = tmp_path_factory.mktemp("storage") / "root"
    config = {"XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    server = Server(root, "--rate-limit", "off", environment={**plugins.environment, **config})
    yield server
    server.stop()


def assert_is_error(response: httpx.Response, status: int, detail: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["detail"] == detail


# ── encoding, parameters, bodies ────────────────────────────────────────────


def test_numbers_and_text_that_json_does_not_have_are_replaced(server):
    response = server.http.get("/api/probe/odd")

    assert response.text == '{"nan":null,"huge":1' + 30 * "0" + ',"zero":-0.0,"text":"café \ufffd!"}'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("number=%2B5", {"number": 5}),
        ("number=-5", {"number": -5}),
        ("number=1&number=7", {"number": 7}),
        ("number=7&number=", {"number": 5}),
        ("number=", {"number": 5}),
        ("number=1&unknown=x", {"number": 1}),
        ("ratio=1e3", {"ratio": 1000.0}),
        ("ratio=-.5", {"ratio": -0.5}),
        ("text=", {"text": None}),
        ("raw=", {"raw": ""}),
        ("text=a%2Bb+c%26d%C3%A9", {"text": "a+b c&dé"}),
        *((f"flag={word}", {"flag": True}) for word in ("true", "1", "YES", "on", "T", "y")),
        *((f"flag={word}", {"flag": False}) for word in ("False", "0", "no", "OFF", "f", "N")),
    ],
)
def test_query_values_are_read_as_the_contract_says(server, query, expected):
    response = server.http.get(f"/api/probe/typed?{query}")

    assert response.status_code == 200, response.text
    assert response.json() == {"number": 5, "ratio": None, "flag": False, "text": None, "raw": None} | expected


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("number=1.0", "number"),
        ("number=1_0", "number"),
        ("number=%D9%A3", "number"),
        ("number=x", "number"),
        ("number=" + "9" * 5000, "number"),
        ("ratio=nan", "ratio"),
        ("ratio=inf", "ratio"),
        ("ratio=1e400", "ratio"),
        ("flag=maybe", "flag"),
        ("flag=2", "flag"),
    ],
)
def test_a_wrong_query_value_is_named(server, query, name):
    response = server.http.get(f"/api/probe/typed?{query}")

    assert response.status_code == 400
    assert response.json()["detail"].startswith(f"Invalid value for {name}: ")


def test_all_wrong_values_are_listed_and_the_first_is_the_detail(server):
    body = server.http.get("/api/probe/typed?flag=maybe&number=x").json()

    assert body["detail"].startswith("Invalid value for flag: ")
    assert [error["field"] for error in body["errors"]] == ["flag", "number"]


@pytest.mark.parametrize(
    ("query", "detail", "fields"),
    [
        (
            "page=x&per_page=0&order_by=x",
            "Invalid value for page: must be an integer",
            ["page", "per_page", "order_by"],
        ),
        ("order_by=x&page=0", "Invalid order_by: x", ["order_by", "page"]),
        ("per_page=1001", "Invalid value for per_page: must be between 1 and 1000", []),
        ("page=0", "Invalid value for page: must be at least 1", []),
        ("q=(&page=0", "Invalid value for q: ", ["q", "page"]),
    ],
)
def test_wrong_values_of_all_kinds_are_listed_together(server, query, detail, fields):
    body = server.http.get(f"/api/v2/experiments?{query}").json()

    assert body["detail"].startswith(detail)
    assert [error["field"] for error in body.get("errors", [])] == fields


def test_all_missing_parameters_are_listed(server):
    body = server.http.get("/api/config/column-widths").json()

    assert body["detail"] == "Missing required parameter: table"
    assert body["errors"] == [{"field": name, "message": "required"} for name in ("table", "size")]


@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        (
            "POST",
            "/api/config/ssh_connections",
            {"host": 5, "username": 6, "port": "x"},
            {"host": "must be a string", "port": "must be between 1 and 65535", "username": "must be a string"},
        ),
        ("POST", "/api/config/ssh_connections", {}, {"host": "required", "username": "required"}),
        (
            "POST",
            "/api/config/column-widths",
            {"table": "", "size": 5, "widths": {"a": "x"}},
            {
                "table": "must have 1 to 64 characters",
                "size": "must be a string",
                "widths": "the width of 'a' must be a finite number",
            },
        ),
        (
            "POST",
            "/api/config/column-widths",
            {"table": "", "size": "1@2", "widths": {}, "window_width": "x"},
            {
                "table": "must have 1 to 64 characters",
                "size": "must have 1 to 64 characters, without @",
                "window_width": "must be a finite number",
            },
        ),
        (
            "POST",
            "/api/experiments/tag",
            {"tags": 5, "append": 1},
            {
                "run_id": "run_id is required",
                "append": "must be true or false",
                "tags": "must be a list of strings",
            },
        ),
        (
            "PATCH",
            "/api/experiments/x",
            {"tags": [5], "description": 5, "pinned": "yes"},
            {
                "tags": "must be a list of strings",
                "description": "must be null or a text of at most 10000 characters",
                "pinned": "must be true or false",
            },
        ),
    ],
)
def test_all_wrong_fields_of_a_body_are_listed_and_the_first_is_the_detail(server, method, path, body, errors):
    response = server.http.request(method, path, json=body)
    answer = response.json()

    assert response.status_code == 400
    assert {error["field"]: error["message"] for error in answer["errors"]} == errors
    first = answer["errors"][0]
    assert first["field"] in answer["detail"]
    assert answer["detail"].endswith(first["message"]) or answer["detail"].startswith("Missing required field: ")


def test_a_missing_parameter_and_a_missing_field_are_named(server):
    assert_is_error(server.http.get("/api/probe/needs"), 400, "Missing required parameter: metric")
    assert_is_error(server.http.post("/api/probe/body", json={}), 400, "Missing required field: run_id")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b'"x"', b"5", b'{"a":' * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_object_is_refused(server, content):
    response = server.http.post("/api/probe/body", content=content, headers={"content-type": "application/json"})

    assert_is_error(response, 400, "Request body must be a JSON object")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_json_body_needs_its_content_type(server, content_type):
    headers = {"content-type": content_type} if content_type else {}
    response = server.http.post("/api/probe/body", content=b'{"run_id":"x"}', headers=headers)

    assert_is_error(response, 400, "Request body must be a JSON object")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_json_content_types_may_have_parameters(server, content_type):
    body = b'{"run_id":"x","unknown":[1]}'
    response = server.http.post("/api/probe/body", content=body, headers={"content-type": content_type})

    assert response.json()["run_id"] == "x"


@pytest.mark.parametrize(
    ("content", "content_type"), [(b"", "application/json"), (b"x", "application/json"), (b"a=1", None)]
)
def test_an_endpoint_that_ignores_its_body_accepts_any(server, content, content_type):
    headers = {"content-type": content_type} if content_type else {}

    assert server.http.post("/api/probe/ignores", content=content, headers=headers).json() == {"ok": True}


def test_a_large_body_is_refused_with_and_without_a_length(server):
    def pieces() -> Iterator[bytes]:
        for _ in range(32):
            yield b"x" * (64 << 10)

    headers = {"content-type": "application/json"}
    announced = server.http.post("/api/probe/body", content=b"x" * (2 << 20), headers=headers)
    assert_is_error(announced, 413, "Request body too large")
    assert_is_error(
        server.http.post("/api/probe/body", content=pieces(), headers=headers), 413, "Request body too large"
    )


def test_a_refused_value_of_a_secret_is_not_repeated(server):
    response = server.http.post("/api/probe/body", json={"run_id": "x", "password": ["hunter2"]})

    assert response.status_code == 400
    assert "hunter2" not in response.text


# ── errors ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nope", "/api/probe", "/api/probe/ws", "/.openapi/openapi.json"]
)
def test_an_unknown_path_is_a_json_404(server, path):
    assert_is_error(server.http.get(path), 404, "Not Found")


def test_an_encoded_slash_never_matches_a_segment(server):
    assert_is_error(server.http.get("/api/probe/items/a%2Fb"), 404, "Not Found")
    assert_is_error(server.http.get("/api/probe%2fitems/a"), 404, "Not Found")


def test_a_path_parameter_is_decoded_once(server):
    assert server.http.get("/api/probe/items/%2541%20%C3%A9").json()["id"] == "%41 é"


def test_a_trailing_slash_is_no_redirect(server):
    assert server.http.get("/api/probe/items/x/").status_code in (200, 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_another_method_is_a_405_that_says_what_is_allowed(server, method):
    response = server.http.request(method, "/api/probe/items/x")

    assert_is_error(response, 405, "Method Not Allowed")
    assert "GET" in response.headers["allow"]
    assert method not in response.headers["allow"]


def test_head_on_an_api_path_is_405(server):
    response = server.http.head("/api/health")

    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert response.content == b""


def test_a_bug_is_a_500_without_its_text_but_with_the_headers(server):
    response = server.http.get("/api/probe/bug", headers={"origin": DEVELOPMENT})

    assert_is_error(response, 500, "Internal Server Error")
    assert set(RATE_HEADERS) <= set(response.headers)
    assert response.headers["access-control-allow-origin"] == DEVELOPMENT
    wait_until(lambda: "secret/place" in server.log, "the log line")
    assert "secret" not in response.text


texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    body=values | st.dictionaries(st.sampled_from(["run_id", "count", "note", "x"]), values),
    query=st.dictionaries(st.sampled_from(["number", "ratio", "flag", "text", "metric", "x"]), texts, max_size=3),
    segment=texts.filter(lambda text: text.strip("/") not in ("", ".", "..")),
)
def test_whatever_is_sent_the_answer_is_json_with_a_detail(server, body, query, segment):
    answers = [
        server.http.post("/api/probe/body", json=body),
        server.http.get("/api/probe/typed", params=query),
        server.http.get("/api/probe/needs", params=query),
        server.http.get("/api/probe/items/" + "".join(f"%{byte:02X}" for byte in segment.encode())),
    ]
    for response in answers:
        assert response.status_code in (200, 400, 404), response.text
        if response.status_code != 200:
            assert isinstance(response.json()["detail"], str)
            assert "\n" not in response.json()["detail"]


# ── health and documentation ────────────────────────────────────────────────


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


# ── who may call ────────────────────────────────────────────────────────────

FOREIGN = ["http://evil.example", "null", "https://localhost:5173", "http://localhost:5174", "http://127.0.0.1"]


@pytest.mark.parametrize("path", ["//api/health", "/api//health", "///api/probe/odd", "/api/health/"])
def test_another_spelling_of_a_path_does_not_escape_the_rules(server, path):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n".encode())
        answer = raw.recv(4096)

    assert answer.startswith(b"HTTP/1.1 403")
    assert b"x-ratelimit-limit" in answer


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/health"), ("POST", "/api/probe/ignores"), ("GET", "/api/x")]
)
def test_a_foreign_origin_is_refused(server, method, path, origin):
    response = server.http.request(method, path, headers={"origin": origin})

    assert_is_error(response, 403, "Origin not allowed")
    assert "access-control-allow-origin" not in response.headers


def test_routes_of_plugins_beside_the_api_follow_its_rules(server):
    wanted = {"run_id": "a"}
    foreign = server.http.post("/probe-outside", json=wanted, headers={"origin": "http://evil.example"})
    assert_is_error(foreign, 403, "Origin not allowed")
    as_text = server.http.post("/probe-outside", content='{"run_id": "a"}', headers={"content-type": "text/plain"})
    assert_is_error(as_text, 400, "Request body must be a JSON object")
    answer = server.http.post("/probe-outside", json=wanted)

    assert (answer.status_code, answer.json()["run_id"]) == (200, "a")
    assert all(name in answer.headers for name in RATE_HEADERS)


def test_the_own_origin_and_requests_without_one_pass(server):
    for headers in ({}, {"origin": server.url}, {"origin": server.url.upper().replace("HTTP", "http")}):
        response = server.http.get("/api/health", headers=headers)
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_the_default_port_of_a_scheme_does_not_matter(server):
    headers = {"host": "localhost", "origin": "http://localhost:80"}

    assert server.http.get("/api/health", headers=headers).status_code == 200


def test_an_allowed_origin_gets_cors_headers(server):
    response = server.http.get("/api/health", headers={"origin": DEVELOPMENT})

    assert response.headers["access-control-allow-origin"] == DEVELOPMENT
    assert "X-RateLimit-Reset" in response.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in response.headers


def test_a_preflight_is_answered_for_allowed_origins_only(server):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    allowed = server.http.options("/api/probe/body", headers={"origin": DEVELOPMENT, **asked})
    refused = server.http.options("/api/probe/body", headers={"origin": "http://evil.example", **asked})

    assert allowed.status_code in (200, 204)
    assert allowed.headers["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE, OPTIONS"
    assert allowed.headers["access-control-allow-headers"] == "content-type"
    assert allowed.headers["access-control-max-age"] == "600"
    assert refused.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", ""])
@pytest.mark.parametrize("path", ["/api/health", "/", "/docs"])
def test_a_foreign_host_is_refused_everywhere(server, host, path):
    assert_is_error(server.http.get(path, headers={"host": host}), 400, "Invalid host header")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]", "[::1]:80"])
def test_names_of_this_machine_are_accepted(server, host):
    assert server.http.get("/api/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:24500@evil", "[::1", "localhost:x", "localhost:1:2"])
def test_a_host_header_that_only_begins_with_a_name_of_this_machine_is_refused(server, host):
    assert_is_error(server.http.get("/api/health", headers={"host": host}), 400, "Invalid host header")


def test_an_origin_is_allowed_as_browsers_send_it_and_in_no_other_spelling(server):
    assert server.http.get("/api/health", headers={"origin": DEVELOPMENT}).status_code == 200
    assert_is_error(server.http.get("/api/health", headers={"origin": DEVELOPMENT.upper()}), 403, "Origin not allowed")


def test_a_cross_site_fetch_without_origin_is_refused_but_a_link_works(server):
    fetch = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert_is_error(server.http.get("/api/health", headers=fetch), 403, "Origin not allowed")
    assert server.http.get("/api/health", headers=link).status_code == 200
    assert server.http.post("/api/probe/ignores", headers=link).status_code == 403
    assert server.http.get("/api/probe/secret", headers=link).status_code == 403
    assert server.http.get("/api/probe/secret").status_code == 200


def websocket_status(server: Server, path: str = "/api/probe/ws", **headers: str) -> int:
    try:
        with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, open_timeout=10) as client:
            assert client.recv(timeout=10) == "None"  # limits are off
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


def test_websockets_follow_the_same_rules(server):
    assert websocket_status(server) == 101
    assert websocket_status(server, Origin=server.url) == 101
    assert websocket_status(server, Origin=DEVELOPMENT) == 101
    assert websocket_status(server, Origin="http://evil.example") == 403
    assert websocket_status(server, Origin="null") == 403
    assert websocket_status(server, path="/api/nope") in (403, 404)
    assert websocket_status(server, path="/api/health") in (403, 404)


def test_a_websocket_handshake_with_a_foreign_host_is_refused(server):
    request = (
        "GET /api/probe/ws HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(request.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_other_hosts_and_origins_can_be_allowed(serve, plugins):
    server = serve(
        None,
        "--allow-host", "lab.example", "--allow-origin", "https://ui.example",
        environment=plugins.environment,
    )  # fmt: skip

    headers = {"host": "lab.example:8080", "origin": "https://ui.example"}
    response = server.http.get("/api/health", headers=headers)
    assert response.headers["access-control-allow-origin"] == "https://ui.example"


# ── rate limits ─────────────────────────────────────────────────────────────


def test_with_limiting_off_there_are_headers_and_no_429(server):
    answers = [server.http.get("/api/probe/items/x") for _ in range(80)]

    assert {answer.status_code for answer in answers} == {200}
    last = answers[-1].headers
    assert (last["x-ratelimit-remaining"], last["x-ratelimit-reset"]) == (last["x-ratelimit-limit"], "60")


def test_the_61st_request_to_one_route_is_refused(serve, plugins):
    server = serve(environment=plugins.environment)
    answers = [server.http.get(f"/api/probe/items/{n}", headers={"x-forwarded-for": f"10.0.0.{n}"}) for n in range(61)]

    assert {answer.status_code for answer in answers[:60]} == {200}
    assert [int(answer.headers["x-ratelimit-remaining"]) for answer in answers[:60]] == list(range(59, -1, -1))
    refused = answers[60]
    assert refused.status_code == 429
    assert refused.json() == {"detail": "Rate limit exceeded", "retry_after": int(refused.headers["retry-after"])}
    assert refused.headers["x-ratelimit-reset"] == refused.headers["retry-after"]
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert server.http.get("/api/health").status_code == 200


def test_the_reset_counts_down(serve, plugins):
    server = serve(environment=plugins.environment)
    first = int(server.http.get("/api/probe/odd").headers["x-ratelimit-reset"])

    wait_until(lambda: int(server.http.get("/api/health").headers["x-ratelimit-reset"]) < 60, "a second to pass")
    assert int(server.http.get("/api/probe/odd").headers["x-ratelimit-reset"]) < first == 60


def test_refused_callers_do_not_use_up_the_limit_of_the_visitor(serve, plugins):
    server = serve(environment=plugins.environment)
    for _ in range(5):
        server.http.get("/api/probe/needs?metric=x", headers={"origin": "http://evil.example"})

    assert server.http.get("/api/probe/needs?metric=x").headers["x-ratelimit-remaining"] == "2"


def test_a_plugins_limit_and_the_users_file_are_used(serve, plugins, tmp_path):
    config = tmp_path / "config" / "runicorn"
    config.mkdir(parents=True)
    endpoints = {"GET /api/probe/items": {"max_requests": 2}, "/api/probe/odd": {"max_requests": 9, "burst_size": 1}}
    (config / "rate_limits.json").write_text(json.dumps({"endpoints": endpoints}))
    server = serve(environment={**plugins.environment, "XDG_CONFIG_HOME": str(tmp_path / "config")})

    assert [server.http.get("/api/probe/needs?metric=x").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [server.http.get("/api/probe/items/x").status_code for _ in range(3)] == [200, 200, 429]
    burst = [server.http.get("/api/probe/odd") for _ in range(2)]
    assert [answer.status_code for answer in burst] == [200, 429]
    assert burst[1].headers["retry-after"] == burst[1].headers["x-ratelimit-reset"] == "1"


def test_a_broken_limit_file_is_reported_and_the_built_in_limits_are_used(serve, tmp_path):
    config = tmp_path / "config" / "runicorn"
    config.mkdir(parents=True)
    (config / "rate_limits.json").write_text('{"default": {"max_requests": 0}}')
    server = serve(environment={"XDG_CONFIG_HOME": str(tmp_path / "config")})

    assert server.http.get("/api/health").headers["x-ratelimit-limit"] == "240"
    assert "rate_limits.json is broken" in server.log


# ── the web interface ───────────────────────────────────────────────────────


@pytest.fixture
def front_end(tmp_path: Path) -> Path:
    directory = tmp_path / "dist"
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text("<title>UI</title>")
    (directory / "assets" / "app-1a2b.js").write_text("console.log(1)")
    (tmp_path / "outside.txt").write_text("private")
    os.symlink(tmp_path / "outside.txt", directory / "link.txt")
    return directory


def test_the_front_end_is_served_with_history_routing(serve, front_end):
    server = serve(environment={"RUNICORN_FRONTEND_DIST": str(front_end)})
    page = {"accept": "text/html,application/xhtml+xml"}

    for path in ("/", "/runs/20250114_153045_a1b2c3", "/artifacts/model", "/remote"):
        response = server.http.get(path, headers=page)
        assert (response.status_code, response.text) == (200, "<title>UI</title>"), path
    for accept in ("*/*", "application/json"):
        assert server.http.get("/", headers={"accept": accept}).text == "<title>UI</title>"
        assert server.http.get("/runs/x", headers={"accept": accept}).status_code == 404
    head = server.http.head("/", headers={"accept": "*/*"})
    assert (head.status_code, head.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert_is_error(server.http.get("/api/nope", headers=page), 404, "Not Found")
    assert server.http.post("/", headers=page).status_code == 405
    assert "swagger-ui" in server.http.get("/docs", headers=page).text
    for outside in ("/link.txt", "/../outside.txt", "/%2e%2e/outside.txt", "/assets/%2e%2e/%2e%2e/outside.txt"):
        response = server.http.get(outside)
        assert response.status_code == 404, outside
        assert "private" not in response.text


def test_assets_can_be_revalidated_and_asked_for_with_head(serve, front_end):
    server = serve(environment={"RUNICORN_DESKTOP_FRONTEND": str(front_end)})
    full = server.http.get("/assets/app-1a2b.js")
    head = server.http.head("/assets/app-1a2b.js")

    assert full.headers["content-type"].startswith("text/javascript")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == full.headers["content-length"]
    by_tag = server.http.get("/assets/app-1a2b.js", headers={"if-none-match": full.headers["etag"]})
    by_date = server.http.get("/assets/app-1a2b.js", headers={"if-modified-since": full.headers["last-modified"]})
    assert (by_tag.status_code, by_date.status_code) == (304, 304)


def test_without_a_front_end_there_is_a_page_that_links_the_documentation(server):
    response = server.http.get("/")

    assert response.status_code == 200
    assert 'href="/docs"' in response.text
    assert "x-ratelimit-limit" not in response.headers
    assert_is_error(server.http.get("/runs/x", headers={"accept": "text/html"}), 404, "Not Found")


# ── plugins ─────────────────────────────────────────────────────────────────


def test_a_broken_plugin_is_named_and_the_server_runs_on(serve, tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add("unloadable", "raise ImportError(f'nothing at {__file__}')")
    plugins.add(
        "unstartable",
        """
        from contextlib import asynccontextmanager
        from litestar import get
        from runicorn.plugin import hookimpl

        @get("/api/unstartable", sync_to_thread=False)
        def route() -> dict[str, int]:
            return {}

        @hookimpl
        def runicorn_routes():
            return [route]

        @hookimpl
        @asynccontextmanager
        async def runicorn_lifespan(store):
            raise RuntimeError("no luck")
            yield
        """,
    )
    server = serve(environment=plugins.environment)
    body = server.http.get("/api/health").json()

    assert body["status"] == "degraded"
    assert body["plugins"]["unloadable"]["status"] == "error"
    assert str(tmp_path) not in body["plugins"]["unloadable"]["detail"]
    assert body["plugins"]["unstartable"]["detail"].endswith("no luck")
    assert_is_error(server.http.get("/api/unstartable"), 503, "The plugin unstartable is not available")
    assert "plugin unloadable is disabled" in server.log


# ── the end ─────────────────────────────────────────────────────────────────


def test_sigterm_closes_websockets_with_1001_and_ends_with_status_0(serve, plugins):
    server = serve(environment=plugins.environment)
    with contextlib.ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}/api/probe/ws"
        clients = [stack.enter_context(connect(url)) for _ in range(5)]
        for client in clients:
            client.recv(timeout=10)

        assert server.stop(signal.SIGTERM, timeout_s=ENDED_S) == 0
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


def test_sigterm_ends_a_server_with_work_that_does_not_end(serve, plugins):
    server = serve(environment=plugins.environment)

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{server.url}/api/probe/stuck", timeout=30)

    requests = threading.Thread(target=ask)
    requests.start()
    with connect(f"ws://127.0.0.1:{server.port}/api/probe/deaf") as client:
        client.recv(timeout=10)

        assert server.stop(signal.SIGTERM, timeout_s=ENDED_S) == 0
    requests.join()


def test_sigint_ends_with_status_0(serve):
    assert serve().stop(signal.SIGINT, timeout_s=ENDED_S) == 0


@pytest.mark.slow
def test_the_built_wheel_holds_the_assets_and_their_licences(tmp_path):
    source = Path(__file__).parents[2]
    tree = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache")
    shutil.copytree(source, tree, ignore=ignore)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assets = {path.name for path in (source / "core/runicorn/server/assets").rglob("*") if path.is_file()}
    assert {"swagger-ui-bundle.js", "redoc.standalone.js", "LICENSE", "home.html"} <= assets
    for path in (source / "core/runicorn/server/assets").rglob("*"):
        if path.is_file():
            assert path.relative_to(source / "core").as_posix() in names
