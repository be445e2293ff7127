"""Who may call: Host, Origin, Fetch-Metadata, WebSockets. Over real HTTP against a real server."""

from __future__ import annotations

import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.contract.http_rules.answers import DEVELOPMENT, RATE_HEADERS, assert_is_error
from tests.serving import Server

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
