"""The contract's table of rate limits, as the headers of a server with all built-in plugins say it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.serving import Server

TABLE = {
    5: ["POST /recycle-bin/empty", "POST /unified/connect", "POST /ssh/connect", "POST /remote/connect"],
    10: [
        "POST /config/user_root_dir",
        "POST /unified/configure_mode",
        "POST /v2/experiments/batch-delete",
        "DELETE /experiments/delete",
    ],
    20: [
        "POST /runs/soft-delete",
        "POST /config/ssh_connections",
        "DELETE /config/ssh_connections/{key}",
        "POST /remote/sync",
    ],
    30: ["GET /unified/listdir", "POST /remote/download/{name}/v{version}"],
    100: [
        "GET /runs",
        "GET /artifacts",
        "GET /artifacts/{name}/versions",
        "GET /artifacts/{name}/v{version}",
        "GET /artifacts/{name}/v{version}/files",
        "GET /artifacts/{name}/v{version}/lineage",
        "GET /artifacts/stats",
        "GET /runs/{run_id}/artifacts",
        "GET /v2/experiments",
        "GET /v2/experiments/{id}/metrics/fast",
    ],
    200: ["GET /v2/experiments/{id}"],
    240: [
        "GET /health",
        "GET /runs/{run_id}",
        "GET /runs/{run_id}/metrics_step",
        "GET /gpu/telemetry",
        "GET /unified/status",
        "GET /remote/status",
        "GET /remote/mode",
        "GET /ssh/sessions",
        "GET /ssh/mirror/list",
        "GET /remote/download/{id}/status",
        "GET /remote/downloads",
    ],
    60: [
        "GET /runs/{run_id}/metrics",
        "GET /recycle-bin",
        "POST /recycle-bin/restore",
        "GET /config",
        "GET /config/ssh_connections",
        "GET /config/ssh_connections/{key}/details",
        "GET /config/column-widths",
        "GET /projects",
        "GET /projects/{project}/names",
        "POST /experiments/tag",
        "GET /experiments/search",
        "GET /export/{run_id}/csv",
        "GET /environment/{run_id}",
        "GET /v2/analytics/overview",
        "POST /import/archive",
        "POST /status/check",
        "POST /unified/disconnect",
    ],
}
"""Requests per minute → routes below `/api`."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = {"XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    with Server(tmp_path_factory.mktemp("limits") / "root", environment=config) as server:
        yield server


@pytest.fixture(scope="module")
def served(server: Server) -> set[str]:
    """Method and template of every route, without the names of parameters."""
    paths = server.http.get("/openapi.json").json()["paths"]
    return {f"{method.upper()} {_nameless(path)}" for path, item in paths.items() for method in item}


@pytest.mark.parametrize(("route", "limit"), [(route, limit) for limit, routes in TABLE.items() for route in routes])
def test_a_route_has_the_limit_of_the_table(server: Server, served: set[str], route: str, limit: int) -> None:
    method, path = route.split(" ")
    assert f"{method} {_nameless(f'/api{path}')}" in served
    answer = server.http.request(method, "/api" + re.sub(r"\{[^}]*\}", "1", path))
    assert answer.status_code != 405
    assert answer.headers["x-ratelimit-limit"] == str(limit)


def test_the_default_of_the_file_is_that_of_every_route_without_a_number_of_its_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = tmp_path_factory.mktemp("config")
    (config / "runicorn").mkdir()
    (config / "runicorn" / "rate_limits.json").write_text('{"default": {"max_requests": 7}}')
    with Server(tmp_path_factory.mktemp("default") / "root", environment={"XDG_CONFIG_HOME": str(config)}) as server:
        for route in TABLE[60]:
            method, path = route.split(" ")
            answer = server.http.request(method, "/api" + re.sub(r"\{[^}]*\}", "1", path))
            assert answer.headers["x-ratelimit-limit"] == "7", route
        assert server.http.get("/api/runs").headers["x-ratelimit-limit"] == "100"


def test_all_paths_that_nothing_serves_share_one_bucket(server: Server) -> None:
    statuses = [server.http.get(f"/api/nope/{number}").status_code for number in range(61)]
    assert statuses == [404] * 60 + [429]


def _nameless(path: str) -> str:
    return "/".join("{}" if "{" in segment else segment for segment in path.split("/"))
