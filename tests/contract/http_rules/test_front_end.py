"""The pages at `/`. Over real HTTP against a real server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.http_rules.answers import assert_is_error


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
