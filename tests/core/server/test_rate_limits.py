from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.errors import BadInput
from runicorn.host import PluginHost
from runicorn.server.rate_limit_table import CORE_LIMITS, Limit, LimitFile, LimitSettings, LimitTable, decode_limit_file
from runicorn.server.rate_limits import MAX_BUCKETS, RateLimiter, is_loopback


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, **settings: bool) -> RateLimiter:
    return RateLimiter(LimitTable(LimitFile(settings=LimitSettings(**settings))), clock=clock)


def test_requests_leave_the_window_one_by_one(clock):
    requests, limit = limiter(clock), Limit(max_requests=2, window_seconds=10)
    first = requests.hit("a", "r", limit)
    clock.now += 4
    requests.hit("a", "r", limit)
    rejected = requests.hit("a", "r", limit)
    clock.now += 6
    after = requests.hit("a", "r", limit)

    assert (first.remaining, first.reset) == (1, 10)
    assert (rejected.allowed, rejected.remaining, rejected.reset) == (False, 0, 6)
    assert (after.allowed, after.remaining, after.reset) == (True, 0, 4)


def test_a_rejected_request_is_not_counted(clock):
    requests, limit = limiter(clock), Limit(max_requests=1, window_seconds=10)
    requests.hit("a", "r", limit)
    for _ in range(9):
        clock.now += 1
        assert not requests.hit("a", "r", limit).allowed
    clock.now += 1

    assert requests.hit("a", "r", limit).allowed


def test_clients_and_routes_do_not_share_a_bucket(clock):
    requests, limit = limiter(clock), Limit(max_requests=1)

    assert all(requests.hit(client, route, limit).allowed for client, route in itertools.product("ab", "rs"))
    assert not requests.hit("a", "r", limit).allowed


def test_a_burst_is_rejected_for_one_second(clock):
    requests, limit = limiter(clock), Limit(max_requests=100, burst_size=2)
    requests.hit("a", "r", limit)
    requests.hit("a", "r", limit)
    rejected = requests.hit("a", "r", limit)
    clock.now += 1

    assert (rejected.allowed, rejected.reset) == (False, 1)
    assert requests.hit("a", "r", limit).allowed


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_no_window_ever_holds_more_than_the_limit(steps, count, window):
    clock = Clock()
    requests, limit = limiter(clock), Limit(max_requests=count, window_seconds=window)
    let_through: list[float] = []
    for pause, is_same in steps:
        clock.now += pause
        verdict = requests.hit("a" if is_same else "b", "r", limit)
        recent = [moment for moment in let_through if moment > clock.now - window]
        assert 1 <= verdict.reset <= window
        if is_same:
            assert verdict.allowed == (len(recent) < count)
            if verdict.allowed:
                let_through.append(clock.now)
                assert verdict.remaining == count - len(recent) - 1


def test_idle_buckets_are_dropped_and_their_number_is_bounded(clock):
    requests, limit = limiter(clock), Limit(window_seconds=10)
    for client in range(MAX_BUCKETS + 50):
        requests.hit(str(client), "r", limit)
    assert len(requests) == MAX_BUCKETS
    clock.now += 11
    requests.hit("new", "r", limit)

    assert len(requests) == 1


def test_a_switched_off_limiter_and_this_machine_on_the_whitelist_are_never_rejected(clock):
    limit = Limit(max_requests=1)
    off, whitelisting = limiter(clock, enable_rate_limiting=False), limiter(clock, whitelist_localhost=True)
    for _ in range(3):
        verdict = off.hit("10.0.0.1", "r", limit)
        assert (verdict.allowed, verdict.remaining, verdict.reset) == (True, 1, 60)
        assert whitelisting.hit("127.0.0.9", "r", limit).allowed
        assert whitelisting.hit("::1", "r", limit).allowed
    whitelisting.hit("10.0.0.1", "r", limit)

    assert not whitelisting.hit("10.0.0.1", "r", limit).allowed


def test_violations_are_logged_once_per_client_and_window(clock, caplog):
    requests, limit = limiter(clock), Limit(max_requests=1, window_seconds=10)
    for _ in range(5):
        requests.hit("a", "GET /x", limit)
    assert len(caplog.records) == 1
    clock.now += 10
    requests.hit("a", "GET /x", limit)
    requests.hit("a", "GET /x", limit)

    assert len(caplog.records) == 2


def table(**endpoints: int) -> LimitTable:
    file = LimitFile(
        default=Limit(max_requests=7), endpoints={key: Limit(max_requests=count) for key, count in endpoints.items()}
    )
    return LimitTable(file, {"GET /api/runs": 100, "GET /api/artifacts/{name}/v{version}": 99})


def test_built_in_entries_cover_one_route_each():
    limits = table()

    assert limits.limit("GET", "/api/runs").max_requests == 100
    assert limits.limit("POST", "/api/runs").max_requests == 7
    assert limits.limit("GET", "/api/runs/{run_id}").max_requests == 7
    assert limits.limit("GET", "/api/artifacts/{other}/{v}").max_requests == 99


@pytest.mark.parametrize(
    ("entries", "method", "route", "expected"),
    [
        ({"/api/runs": 5}, "GET", "/api/runs/{run_id}/metrics", 5),
        ({"/api/runs": 5}, "POST", "/api/runs", 5),
        ({"/api/runs": 5}, "GET", "/api/runsfoo", 7),
        ({"/api/runs": 5, "/api/runs/{id}/metrics": 6}, "GET", "/api/runs/{run_id}/metrics", 6),
        ({"/api/runs": 5, "GET /api/runs": 6}, "GET", "/api/runs", 6),
        ({"/api/runs/{id}": 5, "GET /api/runs": 6}, "GET", "/api/runs/{run_id}", 5),
        ({"POST /api/runs": 5}, "GET", "/api/runs", 100),
    ],
)
def test_the_users_longest_entry_wins(entries, method, route, expected):
    assert table(**entries).limit(method, route).max_requests == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"default":{"max_requests":0}}',
        b'{"default":{"max_requests":"5"}}',
        b'{"endpoints":{"api/runs":{"max_requests":5}}}',
        b'{"endpoints":{"get /api/runs":{"max_requests":5}}}',
        b'{"endpoints":{"/api/runs":{"burst_size":0}}}',
        b'{"settings":{"custom_headers":{"rate_limit_header":"a\\r\\nb"}}}',
    ],
)
def test_a_wrong_file_is_refused(content):
    with pytest.raises(BadInput):
        decode_limit_file(content)


def test_the_documented_file_is_accepted():
    endpoint = {"max_requests": 100, "window_seconds": 60, "burst_size": None, "description": ""}
    headers = {"rate_limit_header": "X-Limit", "unknown": 1}
    file = decode_limit_file(
        json.dumps({"endpoints": {"/api/runs": endpoint}, "settings": {"custom_headers": headers}}).encode()
    )

    assert file.endpoints["/api/runs"].max_requests == 100
    assert file.settings.custom_headers.rate_limit_header == "X-Limit"


PAGE = {  # requests per minute of one open run page
    "/api/runs/{run_id}": 20,
    "/api/runs/{run_id}/metrics_step": 20,
    "/api/gpu/telemetry": 60,
    "/api/health": 12,
    "/api/remote/status": 12,
}
LIST_PAGE = {"/api/runs": 12, "/api/health": 12}


@pytest.mark.parametrize("pages", [[PAGE], [PAGE, PAGE], [PAGE, PAGE, LIST_PAGE]])
def test_open_pages_stay_below_the_limits_of_the_built_in_plugins(clock, pages):
    limits = dict(CORE_LIMITS)
    for _, contributed in PluginHost.load().collect("rate_limits"):
        limits.update(contributed)
    table = LimitTable(built_in=limits)
    requests = RateLimiter(table, clock=clock)
    for second in range(5 * 60):
        clock.now = 1000.0 + second
        for route, per_minute in itertools.chain.from_iterable(page.items() for page in pages):
            if second % (60 // per_minute) == 0:
                assert requests.hit("127.0.0.1", route, table.limit("GET", route)).allowed, route


def test_loopback_is_recognised():
    assert [is_loopback(text) for text in ("127.3.2.1", "::1", "10.0.0.1", "2001:db8::/64", "local")] == [
        True, True, False, False, False
    ]  # fmt: skip
