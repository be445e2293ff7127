from __future__ import annotations

import pytest

from runicorn.errors import BadInput
from runicorn.server.clients import Clients
from runicorn.server.etag import CacheCounters, matches, strong_etag, weak_etag
from runicorn.server.files import find_file
from runicorn.server.origins import Callers, is_loopback_host
from runicorn.server.plugin_health import without_paths


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", b"10.9.9.9", "192.0.2.1"),
        ("10.0.0.1", b"198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", b"1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", b"198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", b"[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("::1", None, "::1"),
        ("local", None, "local"),
    ],
)
def test_clients_are_told_apart_by_address(peer, forwarded, expected):
    assert Clients(["10.0.0.0/8"]).key(peer, forwarded) == expected


def test_a_proxy_that_is_no_address_is_refused():
    with pytest.raises(BadInput):
        Clients(["proxy.example"])


def test_on_all_addresses_any_address_is_a_valid_host_but_no_foreign_name():
    callers = Callers("0.0.0.0")

    for host in (b"192.168.1.5:23300", b"[fe80::1]:23300", b"localhost", b"0.0.0.0"):
        assert callers.bad_host({b"host": host}) is None
    assert callers.bad_host({b"host": b"evil.example"}) is not None


def test_on_one_address_this_address_is_a_valid_host():
    callers = Callers("127.0.0.2", allow_hosts=["2001:db8::1"])

    assert callers.bad_host({b"host": b"127.0.0.2:1"}) is None
    assert callers.bad_host({b"host": b"[2001:db8::1]"}) is None
    assert callers.bad_host({b"host": b"127.0.0.3"}) is not None


@pytest.mark.parametrize(
    "origin",
    [
        b"",
        b"null",
        b"http://",
        b"http://localhost:1/x",
        b"http://a@localhost:1",
        b"ftp://localhost:1",
        b"http://[",
        b"\xff",
    ],
)
def test_an_odd_origin_is_foreign(origin):
    assert Callers("127.0.0.1").foreign({b"origin": origin, b"host": b"localhost:1"}, "GET") is not None


@pytest.mark.parametrize(
    "host",
    [
        b"localhost:24500@evil", b"localhost@evil", b"[::1", b"[::1]x", b"[::1]:x", b"localhost:x", b"localhost:1:2",
        b"localhost/", b"localhost evil", b"localhost?", b"", b":23300", b"[]", b"localhost#",
    ],
)  # fmt: skip
def test_an_odd_host_is_refused(host: bytes) -> None:
    assert Callers("127.0.0.1").bad_host({b"host": host}) is not None
    assert Callers("0.0.0.0").bad_host({b"host": host}) is not None


def test_origins_that_are_allowed_match_exactly():
    callers = Callers("127.0.0.1", allow_origins=["HTTPS://UI.example:443", "tauri://localhost", "http://[::1]:5173"])

    for origin in (b"http://localhost:5173", b"https://ui.example", b"tauri://localhost", b"http://[::1]:5173"):
        assert callers.allowed_origin({b"origin": origin}) == origin
    for origin in (
        b"HTTP://LOCALHOST:5173",
        b"http://localhost:51730",
        b"https://ui.example:443",
        b"https://ui.example/",
    ):
        assert callers.allowed_origin({b"origin": origin}) is None
        assert callers.foreign({b"origin": origin, b"host": b"localhost:1"}, "GET") is not None


@pytest.mark.parametrize(
    "origin", ["foo", "http://x/", "*", "http://*", "", "http://", "http://a b", "http://x:y", "http://u@x"]
)
def test_what_no_browser_sends_as_an_origin_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(BadInput, match=r"^Not an origin"):
        Callers("127.0.0.1", allow_origins=[origin])


@pytest.mark.parametrize("host", ["a b", "x:80", "http://x", "*", "", "x/", "[::1"])
def test_what_is_no_host_name_cannot_be_allowed(host: str) -> None:
    with pytest.raises(BadInput, match=r"^Not a host name"):
        Callers("127.0.0.1", allow_hosts=[host])


def test_loopback_addresses_are_told_from_others():
    assert [is_loopback_host(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0", "lab")] == [
        True, True, True, True, False, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("*", True),
        ('W/"a-1"', True),
        ('"a-1"', True),
        ('"b", W/"a-1"', True),
        ('"a-2"', False),
        ("", False),
    ],
)
def test_etags_are_compared_weakly(header, expected):
    assert matches(header, weak_etag("a", 1)) is expected
    assert matches(header, strong_etag("a", 1)) is expected


def test_cache_counters_report_a_rate_and_a_bounded_size():
    cache = CacheCounters()
    assert cache.report().hit_rate == "0.0%"
    for number in range(300):
        cache.count(str(number), hit=number % 3 == 0)
    report = cache.report()

    assert (report.hits, report.misses, report.hit_rate, report.size) == (100, 200, "33.3%", 100)


def test_files_outside_of_the_directory_are_not_found(tmp_path):
    inside = tmp_path / "site"
    inside.mkdir()
    (inside / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")

    assert find_file(inside, "/a.txt") == (inside / "a.txt").resolve()
    for path in ("/../b.txt", "/..", "/", "//b.txt", "/a.txt/x", "/\0", "/..\\b.txt"):
        assert find_file(inside, path) is None


def test_directories_are_cut_off_texts():
    assert without_paths("cannot import 'x' from 'y' (/home/me/lib/y.py)") == "cannot import 'x' from 'y' (y.py)"
    for text in ("GET /api is fine; 1/2 too", "route GET /api/runs/{run_id} is off"):
        assert without_paths(text) == text
