"""`q=` of whoever wants to keep the server busy: an answer at once, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest

from tests.serving import Server, wait_until
from tests.stores import make_run

RUNS = 300
EACH = 5
PLAIN = "status = finished and config.k = a"
HOSTILE = {
    "ten thousand characters": "status=a or " * 830,
    "as many tests as are allowed": " or ".join(f'config.k ~ "{number}é"' for number in range(32)),
    "as many ranges as are allowed": " and ".join(f"not config.k{number} ~ x" for number in range(32)),
    "a long needle": f'config.k ~ "{"x" * 4000}"',
    "open parentheses": "(" * 4096,
    "parentheses as deep as is allowed": "(" * 64 + "status = a" + ")" * 64,
    "deeper parentheses": "(" * 2000 + "status = a" + ")" * 2000,
    "not as deep as is allowed": "not " * 64 + "config.k ~ a",
    "a deeper not": "not " * 1000 + "status = a",
    "quotes without an end": "'\\" * 1500,
    "nothing but quotes": "\"'" * 1500,
    "a field of quotes": 'config."' + '\\"' * 500 + '" = 1',
    "Chinese": "训练" * 400,
    "a Chinese needle": f'name ~ "{"训练" * 400}"',
    "right to left": "name = '\u202e\u2066" + "\u0627" * 500 + "'",
    "letters that grow when folded": f'config.k ~ "{"ﬃ" * 800}"',
    "accents on top of each other": "config.k ~ a" + "\u0301" * 1000,
    "control characters": "name = '\x00\x01\x1b[2J\x7f'",
    "emoji": "status = " + "👩‍👩‍👧‍👦" * 100,
    "a long number": "best_metric > 1" + "0" * 4000,
    "a long duration": "created > " + "1s" * 2000,
    "a long list": f"id in ({', '.join('a' * 3 for _ in range(800))})",
    "SQL": "name = 'x'; DROP TABLE run; --' or 1=1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("hostile")
    for number in range(RUNS):
        status, summary = {"status": "finished"}, {"best_metric_value": number}
        configured = {"ts": 5.0, "type": "run.configured", "data": {"config": {"k": "é" * 50 if number % 2 else "a"}}}
        meta = {"project": "p", "name": "训练", "created_at": 5.0 + number}
        events = json.dumps(configured) + "\n"
        make_run(base / "root", f"p/n/runs/r{number}", meta=meta, status=status, summary=summary, events=events)
    server = Server(base / "root", "--rate-limit", "off", environment={"XDG_CONFIG_HOME": str(base / "config")})
    wait_until(lambda: ask(server, PLAIN) == 200 and total(server) == RUNS, "all runs")
    yield server
    server.stop()


def total(server: Server) -> int:
    return server.http.get("/api/v2/experiments", params={"per_page": 1}).json()["total"]


def ask(server: Server, query: str) -> int:
    return server.http.get("/api/v2/experiments", params={"q": query}).status_code


def seconds(server: Server, queries: list[str]) -> tuple[float, list[int]]:
    """Processor time of the process that answers, and the answers."""
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    answers = [ask(server, query) for query in queries]
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system, answers


def test_each_is_answered_or_refused_and_nothing_is_harmed(server: Server) -> None:
    with_key = server.http.get("/api/v2/experiments", params={"q": "config.k = a"}).json()["total"]
    assert with_key == RUNS // 2, "the queries below have something to look at"
    answers = {name: ask(server, query) for name, query in HOSTILE.items()}
    assert set(answers.values()) == {200, 400}, answers
    assert answers["as many tests as are allowed"] == answers["parentheses as deep as is allowed"] == 200
    assert answers["ten thousand characters"] == answers["deeper parentheses"] == 400
    assert total(server) == RUNS


def test_they_cost_little_more_than_others(server: Server) -> None:
    hostile = [query for query in HOSTILE.values() for _ in range(EACH)]
    plain, answers = seconds(server, [PLAIN] * len(hostile))
    assert set(answers) == {200}
    cost, _ = seconds(server, hostile)
    assert cost < 10 * plain, "of whatever length they are, they cost a few times what a short one does"
