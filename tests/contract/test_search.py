"""Full-text search over HTTP: what is logged is found, by any part of a line, and says where it is."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runicorn.events.decided import RunDescribed, RunTagged
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

RUNS = 24
WORDS = [
    "loss",
    "Learning",
    "RATE",
    "训练",
    "验证集",
    "准确率",
    "straße",
    "ÉPOQUE",
    "a",
    "%_",
    '"quoted"',
    "résumé",
    "0.125",
]


def log_of(number: int) -> bytes:
    choose = random.Random(number)
    lines = []
    for step in range(choose.randrange(700)):
        clock = time.strftime("%H:%M:%S", time.gmtime(80_000 + 30 * step))
        text = " ".join(choose.choices(WORDS, k=4))
        more = choose.choice(["", "", " \t", f"\n  continued {choose.choice(WORDS)}"])
        lines.append(f"{clock} | step {step} {text}{more}")
    return choose.choice([b"\n", b"\n", b"\r\n"]).join(line.encode() for line in lines) + choose.choice([b"\n", b""])


def make(root: Path, number: int) -> Path:
    meta = {
        "project": ["vision", "nlp"][number % 2],
        "name": f"trial-{number % 5}",
        "created_at": 1_700_000_000 + number,
        "hostname": "elsewhere",
        "pid": 5,
    }
    status = {"status": ["finished", "failed", "running"][number % 3]}
    said = {"summary": {"notes": "Die GRÖẞE war falsch, 下次改"}} if number == 11 else {}
    folder = make_run(root, f"p{number % 2}/n/runs/run{number:02}", meta=meta, status=status, **said)
    (folder / "logs.txt").write_bytes(log_of(number))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("search") / "root"
    for number in range(RUNS):
        make(root, number)
    (root / "p0/n/runs/run00/.deleted").write_text(json.dumps({"deleted_at": 1.7e9, "reason": "user_deleted"}))
    (root / "p1/n/runs/run01/logs.txt").unlink()
    run = {"run": "p1/n/runs/run05", "run_id": "run05"}
    StoreStream(FileLog(root, root / ".runicorn/state")).append(
        RunTagged(**run, tags=["Baseline", "second straße"]), RunDescribed(**run, description="It looks gut.")
    )
    server = Server(root, "--rate-limit", "off")
    wait_until(lambda: search(server, "zzz")["logs"]["state"] == "ready", "the index")
    wait_until(lambda: server.http.get("/api/v2/experiments").json()["total"] == RUNS - 1, "the runs")
    yield server
    server.stop()


def search(server: Server, query: str, **parameters: Any) -> dict[str, Any]:
    answer = server.http.get("/api/v2/search", params={"q": query, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def every(server: Server, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """The hits of all pages."""
    hits: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = search(server, query, **parameters, **({"cursor": cursor} if cursor else {}))
        assert len(answer["hits"]) <= parameters.get("limit", 20)
        hits += answer["hits"]
        if answer["next"] is None:
            return hits
        assert answer["next"] != cursor
        cursor = answer["next"]


def expected_lines(root: Path, query: str) -> set[tuple[str, int, int]]:
    found = set()
    for number in range(2, RUNS):
        offset = 0
        for place, line in enumerate(log_of(number).splitlines(keepends=True), 1):
            if query.casefold() in line.rstrip(b"\r\n").decode().casefold():
                found.add((f"run{number:02}", place, offset))
            offset += len(line)
    return found


@pytest.mark.parametrize(
    "query",
    ["step 12", "loss", "LOSS", "rate", "训", "训练", "集 准", "证集", "STRASSE", "époque", "a", "%", "_", '"', '"quoted" a',
     "continued", "\t", " | ", "0.125 0", "résumé loss", "zzz"],
)  # fmt: skip
def test_every_line_with_the_text_is_found_once(server: Server, query: str) -> None:
    if not query.strip():
        assert server.http.get("/api/v2/search", params={"q": query}).status_code == 400
        return
    hits = every(server, query, kind="log", limit=200)
    found = [(hit["run_id"], hit["line"], hit["offset"]) for hit in hits]
    assert len(set(found)) == len(found)
    assert set(found) == expected_lines(server.root, query)
    for hit in hits:
        marked = [hit["snippet"][start:end] for start, end in hit["highlights"]]
        assert marked
        assert all(part.casefold() == query.casefold() for part in marked)
        folder = next(server.root.glob(f"*/n/runs/{hit['run_id']}"))
        line = (folder / "logs.txt").read_bytes()[hit["offset"] :].splitlines()[0].decode()
        assert hit["snippet"] == line


def test_newer_runs_and_later_lines_come_first(server: Server) -> None:
    hits = every(server, "loss", kind="log", limit=200)
    runs = list(dict.fromkeys(hit["run_id"] for hit in hits))
    assert [run for run, _ in itertools.groupby(hit["run_id"] for hit in hits)] == runs
    for run in runs:
        lines = [hit["line"] for hit in hits if hit["run_id"] == run]
        assert lines == sorted(lines, reverse=True)


@pytest.mark.slow(3)
def test_lines_have_times_that_go_on_over_midnight(server: Server) -> None:
    for run in {hit["run_id"] for hit in every(server, "step", kind="log", limit=200)}:
        hits = every(server, "step", kind="log", run=run, limit=200)[::-1]
        assert [hit["clock"] for hit in hits] == [hit["snippet"][:8] for hit in hits]
        times = [hit["time"] for hit in hits]
        assert [later - earlier for earlier, later in itertools.pairwise(times)] == [30.0] * (len(times) - 1)
        assert abs(times[0] - hits[0]["created_at"]) <= 86400
        assert [time.strftime("%H:%M:%S", time.localtime(at)) for at in times] == [hit["clock"] for hit in hits]
    continued = every(server, "continued", kind="log")
    assert all(hit["clock"] is not None for hit in continued)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"project": "vision"}, lambda number: number % 2 == 0),
        ({"project": "Vision"}, lambda number: False),
        ({"status": "failed"}, lambda number: number % 3 == 1),
        ({"status": " failed ,running,"}, lambda number: number % 3 != 0),
        ({"run": "run07"}, lambda number: number == 7),
        ({"project": "nlp", "status": "finished", "run": "run03"}, lambda number: number == 3),
        ({"project": "vision", "run": "run03"}, lambda number: False),
    ],
)
def test_filters_are_combined(server: Server, filters: dict[str, str], wanted: Callable[[int], bool]) -> None:
    expected = {found for found in expected_lines(server.root, "rate") if wanted(int(found[0][3:]))}
    hits = every(server, "rate", kind="log", limit=7, **filters)
    assert {(hit["run_id"], hit["line"], hit["offset"]) for hit in hits} == expected
    names = every(server, "trial-", kind="name", **filters)
    assert {int(hit["run_id"][3:]) for hit in names} == {number for number in range(1, RUNS) if wanted(number)}


def test_runs_are_found_by_what_is_said_about_them_before_their_logs(server: Server) -> None:
    hits = every(server, "TRIAL-4", limit=3)
    assert [hit["run_id"] for hit in hits] == ["run19", "run14", "run09", "run04"]
    assert all((hit["kind"], hit["snippet"], hit["highlights"]) == ("name", "trial-4", [[0, 7]]) for hit in hits)
    hits = every(server, "SECOND STRASSE")
    assert [(hit["kind"], hit["run_id"], hit["snippet"]) for hit in hits] == [("tag", "run05", "second straße")]
    hits = every(server, "looks gut")
    assert [(hit["kind"], hit["run_id"], hit["highlights"]) for hit in hits] == [("description", "run05", [[3, 12]])]
    for text, place in (("größe WAR", [4, 13]), ("下", [22, 23])):
        hits = every(server, text, kind="note")
        assert [(hit["kind"], hit["run_id"], hit["highlights"]) for hit in hits] == [("note", "run11", [place])]
    listed = server.http.get("/api/v2/experiments", params={"q": 'note ~ "grösse war"'}).json()
    assert [run["id"] for run in listed["experiments"]] == ["run11"]
    assert {hit["kind"] for hit in every(server, "vision", limit=5)} == {"project"}
    assert [(hit["kind"], hit["run_id"]) for hit in every(server, "UN17")] == [("id", "run17")]
    kinds = [hit["kind"] for hit in every(server, "l", limit=50, run="run09")]
    assert kinds[0] == "name"
    assert set(kinds[1:]) == {"log"}


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_pages_hold_all_hits_once_whatever_their_size(server: Server, limit: int) -> None:
    hits = every(server, "é", limit=limit, run="run11")
    assert hits == every(server, "é", limit=50, run="run11")


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_lines_follow_runs_also_where_a_page_ends_between_them(server: Server, limit: int) -> None:
    everything = every(server, "l", limit=200, project="vision", status="finished")
    runs = [hit for hit in everything if hit["kind"] != "log"]
    assert len(runs) == 3
    assert everything[:3] == runs
    first = search(server, "l", limit=limit, project="vision", status="finished")
    second = search(server, "l", limit=limit, project="vision", status="finished", cursor=first["next"])
    assert first["hits"] + second["hits"] == everything[: 2 * limit]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({}, "Missing required parameter: q"),
        ({"q": ""}, "Missing required parameter: q"),
        ({"q": "  \t"}, "Missing required parameter: q"),
        ({"q": "x" * 501}, "Invalid value for q: must be at most 500 characters"),
        (
            {"q": "x", "kind": "log,nonsense"},
            "Invalid value for kind: must be among name, project, tag, description, note, id, log",
        ),
        ({"q": "x", "cursor": "9"}, "Invalid value for cursor: must be what an earlier answer gave as `next`"),
        ({"q": "x", "limit": "0"}, None),
        ({"q": "x", "limit": "201"}, None),
        ({"q": "x", "limit": "many"}, None),
    ],
)
def test_what_is_wrong_is_said(server: Server, parameters: dict[str, str], detail: str | None) -> None:
    answer = server.http.get("/api/v2/search", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail or "Invalid value for limit")


def test_an_unknown_run_is_404(server: Server) -> None:
    answer = server.http.get("/api/v2/search", params={"q": "x", "run": "nope"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Run not found: nope"})


@pytest.mark.parametrize(
    "query", ["x" * 500, "é" * 500, "\x00", "a\x00b", "\uffff", "\U0010ffff", "a\nb", "NEAR(a b)", "-a", "a*", "text:a"]
)
def test_no_text_is_an_error(server: Server, query: str) -> None:
    assert search(server, query)["truncated"] is False


@pytest.mark.slow(2)
def test_deleted_runs_are_not_found_and_restored_ones_are(server: Server) -> None:
    folder = make(server.root, 30)
    (folder / "logs.txt").write_text("12:00:00 | a needle in the hay\n")
    wait_until(lambda: every(server, "needle in"), "the new log")
    (folder / ".deleted").write_text(json.dumps({"deleted_at": 1.7e9, "reason": "user_deleted"}))
    wait_until(lambda: not every(server, "needle in"), "the deletion")
    (folder / ".deleted").unlink()
    wait_until(lambda: every(server, "needle in"), "the restored run")


@pytest.mark.slow(3)
def test_logs_are_followed_while_they_grow_are_rotated_and_truncated(server: Server) -> None:
    log = make(server.root, 31) / "logs.txt"
    log.write_text("12:00:00 | first marker\n")
    wait_until(lambda: every(server, "first marker"), "the first line")
    with log.open("a") as file:
        file.write("12:00:01 | second marker without an end")
    wait_until(lambda: every(server, "marker without an"), "the second line")
    log.rename(log.with_name("logs.txt.1"))
    log.write_text("12:00:02 | third marker\n")
    wait_until(lambda: [hit["snippet"][11:] for hit in every(server, "marker")] == ["third marker"], "the new file")
    os.truncate(log, 0)
    wait_until(lambda: not every(server, "marker"), "the truncation")


def test_health_says_how_large_the_index_is(server: Server) -> None:
    wait_until(lambda: " logs of " in health(server)["detail"], "the figures")
    assert health(server)["status"] == "ok"
    assert "2048 MiB" in health(server)["detail"]


def health(server: Server) -> dict[str, Any]:
    return server.http.get("/api/health").json()["plugins"]["query"]


def indexer_of(server: Server) -> int | None:
    """The process id of the server's indexer."""
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"runicorn_query.indexes" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


class TestTheProcess:
    def test_it_is_killed_and_started_again_and_nothing_is_lost(
        self, serve: Callable[..., Server], tmp_path: Path
    ) -> None:
        root = tmp_path / "root"
        log = make(root, 0) / "logs.txt"
        log.write_text("12:00:00 | before\n")
        server = serve(root, "--rate-limit", "off")
        wait_until(lambda: every(server, "before"), "the index")
        killed = indexer_of(server)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        with log.open("a") as file:
            file.write("12:00:01 | afterwards\n")
        wait_until(lambda: every(server, "afterwards"), "the next process")
        assert len(every(server, "before")) == 1
        assert indexer_of(server) != killed

    @pytest.mark.slow(2)
    def test_it_ends_with_a_server_that_is_killed(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        server = serve(tmp_path / "root")
        wait_until(lambda: indexer_of(server), "the process")
        process = indexer_of(server)
        server.stop(signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{process}").exists(), "its end")

    @pytest.mark.slow(3)
    def test_an_index_that_is_removed_is_built_again(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        root = tmp_path / "root"
        make(root, 0)
        server = serve(root, "--rate-limit", "off")
        wait_until(lambda: every(server, "step 12"), "the index")
        before = every(server, "step 12")
        server.stop()
        for file in (root / ".runicorn" / "state").glob("query-*"):
            file.unlink()
        again = serve(root, "--rate-limit", "off")
        wait_until(lambda: every(again, "step 12") == before, "the same answer")

    @pytest.mark.slow(3)
    def test_logs_can_be_left_out(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        root = tmp_path / "root"
        make(root, 0)
        make(root, 1)
        server = serve(root, "--rate-limit", "off", environment={"RUNICORN_SEARCH_EXCLUDE": "p0/*"})
        wait_until_live(server)
        wait_until(lambda: every(server, "step 12"), "the index")
        assert {hit["run_id"] for hit in every(server, "step 12")} == {"run01"}
        server.stop()
        off = serve(root, "--rate-limit", "off", environment={"RUNICORN_SEARCH_INDEX_MB": "0"})
        answer = search(off, "trial")
        assert answer["logs"]["state"] == "off"
        wait_until(lambda: not list((root / ".runicorn/state").glob("query-logs-*")), "the end of the index")
        assert health(off)["detail"] == "log search: off"


def test_the_route_is_documented_with_its_limit(serve: Callable[..., Server]) -> None:
    server = serve(None)
    assert server.http.get("/api/v2/search", params={"q": "x"}).headers["x-ratelimit-limit"] == "240"
    parameters = server.http.get("/openapi.json").json()["paths"]["/api/v2/search"]["get"]["parameters"]
    assert {"q", "project", "run", "status", "kind", "limit", "cursor"} == {
        parameter["name"] for parameter in parameters
    }
    assert [parameter["name"] for parameter in parameters if parameter["required"]] == ["q"]
