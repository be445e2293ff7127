"""How often one may call. Over real HTTP against a real server."""

from __future__ import annotations

import json

from tests.serving import wait_until


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
