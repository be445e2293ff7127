"""`/metrics_step`, `/metrics` and `/progress` over real HTTP; the reader's rules are tested with the columns."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import wait_until_live
from tests.reference_metrics import Answer, metrics, metrics_step
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event, write

__all__ = ["serve"]

Serve = Callable[..., Server]

HOSTILE = (
    metrics_event(global_step=1, loss=1.0, acc=0.5).encode(),
    b"\n   \n",
    b"{half a line\n",
    b"[1, 2]\n5\nnull\n",
    b'{"ts": 1, "type": "metrics", "data": null}\n',
    b'{"ts": 2, "type": "metrics", "data": {"global_step": 2, "nan": NaN, "inf": -Infinity, "big": 1e400}}\n',
    b'{"ts": 3, "type": "metrics", "data": {"global_step": 3, "huge": ' + b"1" + b"0" * 30 + b"}}\n",
    b'{"ts": 4, "type": "metrics", "data": {"global_step": 4, "digits": ' + b"7" * 10_000 + b', "loss": 4.0}}\n',
    b'{"ts": 5, "type": "metrics", "data": {"global_step": 5, "text": "\xff\xfe", "flag": true, "nothing": null}}\n',
    b'{"ts": 6, "type": "metrics", "data": {"global_step": 6, "s": "\\ud800", "list": [1], "object": {}}}\n',
    b'{"ts": 7, "type": "metrics", "data": {"global_step": 1, "loss": null}}\n',
    b'{"ts": 8, "type": "Metrics", "data": {"global_step": 9, "loss": 9}}\n',
    b'{"ts": 9, "type": "metrics", "data": {"step": 7, "a,b": 1, "q\\"uote": 2, "": 3, "new\\nline": -0.0}}\r\n',
    b'{"ts": 10, "type": "metrics", "data": {"global_step": -3, "loss": 2, "epoch": 4}}\n',
    b'{"ts": 11, "type": "metrics", "data": {"loss": 11}}\n',
    b'{"ts": 12, "type": "metrics", "data": {"global_step": "5.0", "loss": 12, "time": 2.5}}\n',
    metrics_event(ts=13.0, global_step=8, loss=8.0, stage="train").encode(),
    b'{"ts": 14, "type": "metrics", "data": {"global_step": 99, "loss": 1}}',  # torn: not an event
)


def test_many_columns_in_a_short_file_are_answered_as_the_simple_reader_does(serve: Serve, tmp_path: Path) -> None:
    events = "".join(metrics_event(ts=float(n), global_step=n, **{f"m{n}": n / 2}) for n in range(400))
    directory = make_run(tmp_path / "r", "p/n/runs/wide", events=events)
    server = serve(tmp_path / "r")
    wait_until_live(server)
    for _ in range(2):
        assert server.http.get("/api/runs/wide/metrics_step").json() == metrics_step(directory / "events.jsonl")
        assert server.http.get("/api/runs/wide/metrics").json() == metrics(directory / "events.jsonl")
        with open(directory / "events.jsonl", "a") as file:
            file.write(metrics_event(ts=900.0, global_step=900, other=1.5))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share; each makes runs of its own."""
    server = Server(tmp_path_factory.mktemp("metrics") / "root", "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


_numbers = itertools.count()


def new_run(server: Server, events: str | bytes | None = None, **files: Any) -> Path:
    """The directory of a new run, which the server has found."""
    run_id = f"20260101_000000_{next(_numbers):06x}"
    directory = make_run(server.root, f"p/n/runs/{run_id}", events=events, **files)
    wait_until(lambda: server.http.get(f"/api/runs/{run_id}").status_code == 200)  # made by hand, found soon
    return directory


def test_a_hostile_file_is_answered_as_the_simple_reader_does(server: Server) -> None:
    directory = new_run(server, b"".join(HOSTILE))

    answer = server.http.get(f"/api/runs/{directory.name}/metrics_step")
    assert answer.json() == metrics_step(directory / "events.jsonl")
    assert b"1" + b"0" * 30 in answer.content
    assert b"-0.0" in answer.content
    assert b"NaN" not in answer.content
    assert server.http.get(f"/api/runs/{directory.name}/metrics").json() == metrics(directory / "events.jsonl")


def answers(server: Server, events: bytes) -> tuple[Answer, Answer]:
    """`metrics_step` and `metrics` of a new run with these events, compared with the simple reader."""
    directory = new_run(server, events)
    by_step, by_time = (server.http.get(f"/api/runs/{directory.name}/{name}") for name in ("metrics_step", "metrics"))
    assert (by_step.status_code, by_time.status_code) == (200, 200)
    assert by_step.json() == metrics_step(directory / "events.jsonl")
    assert by_time.json() == metrics(directory / "events.jsonl")
    return by_step.json(), by_time.json()


STEPS: dict[str, int | None] = {
    "5": 5, "-3": -3, "2.7": 2, "-2.7": -2, "true": 1, "false": 0, '"5"': 5, '" 7 "': 7, "1e3": 1000,
    '"5.0"': None, '"x"': None, '""': None, "null": None, "NaN": None, "Infinity": None, "-Infinity": None, "1e400": None,
    "[1]": None, '{"a": 1}': None, str(10**30): 10**30,
}  # fmt: skip


@pytest.mark.parametrize("key", ["global_step", "step"])
@pytest.mark.parametrize("given", STEPS)
def test_a_step_is_read_as_the_table_says_and_its_neighbours_survive(server: Server, key: str, given: str) -> None:
    good = metrics_event(global_step=-1000, x=1), metrics_event(global_step=10**31, x=3)
    odd = f'{{"ts": 2.0, "type": "metrics", "data": {{"{key}": {given}, "x": 2}}}}\n'
    by_step, by_time = answers(server, (good[0] + odd + good[1]).encode())
    expected = STEPS[given]
    middle = [] if expected is None else [expected]
    assert [row["global_step"] for row in by_step["rows"]] == [-1000, *middle, 10**31]
    assert len(by_time["rows"]) == 2  # equal times merge; without a usable step an event still counts here


def test_the_first_columns_and_the_keys_of_every_row(server: Server) -> None:
    events = [
        metrics_event(ts=5.0 + step, global_step=step, **{f"m{step % 3}": step, "z": 1, "a": 2}) for step in range(9)
    ]
    by_step, by_time = answers(server, "".join(events).encode())
    assert by_step["columns"] == ["global_step", "a", "m0", "m1", "m2", "z"]
    assert by_time["columns"] == ["time", "global_step", "a", "m0", "m1", "m2", "z"]
    assert by_time["rows"][0]["time"] == 0.0
    for answer in (by_step, by_time):
        assert all(list(row) == answer["columns"] for row in answer["rows"])


def test_values_pass_become_null_or_are_dropped(server: Server) -> None:
    data = (
        f'"nan": NaN, "inf": -Infinity, "huge": 1e400, "digits": {10**30}, "yes": true, "text": "t", "none": null,'
        ' "list": [1], "object": {"a": 1}'
    )
    by_step, _ = answers(
        server, f'{{"ts": 1, "type": "metrics", "data": {{"global_step": {10**30}, {data}}}}}\n'.encode()
    )
    (row,) = by_step["rows"]
    expected = {"nan": None, "inf": None, "huge": None, "digits": 10**30, "yes": True, "text": "t", "none": None}
    assert row == {"global_step": 10**30, **expected}
    assert row["yes"] is True


def test_a_later_event_of_a_step_overwrites_with_null_too(server: Server) -> None:
    first = '{"ts": 1, "type": "metrics", "data": {"global_step": 1, "a": 1, "b": 1, "c": 1}}\n'
    later = '{"ts": 2, "type": "metrics", "data": {"global_step": 1, "a": null, "b": NaN}}\n'
    by_step, _ = answers(server, (first + later).encode())
    assert by_step["rows"] == [{"global_step": 1, "a": None, "b": None, "c": 1}]


@pytest.mark.parametrize(
    "damage",
    [
        b"\n \t \r\n", b"half a li\n", b'[1, 2]\n"text"\n', b'{"ts": 1, "type": "metrics", "data": null}\n',
        b'{"ts": 1, "type": "metrics", "data": {"\xff\xfe": 1, "global_step": 5}}\n', b"\xef\xbb\xbf\n",
        b'{"ts": 1, "type": "metrics", "data": {"\\ud800": "\\udfff", "global_step": 5}}\n',
        b'{"ts": 1, "type": "metrics", "data": {"x": ' + b"9" * 10_000 + b', "global_step": 5}}\n', b"\0\n",
        b'{"ts": 1, "type": "metrics", "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}\n",
    ],
    ids=["blank", "half", "not objects", "null", "UTF-8", "BOM", "surrogates", "digits", "NUL", "deep"],
)  # fmt: skip
def test_damage_hides_no_neighbour(server: Server, damage: bytes) -> None:
    good = metrics_event(global_step=1, loss=0.5).encode(), metrics_event(global_step=9, loss=0.25).encode()
    by_step, _ = answers(server, b"\xef\xbb\xbf" + good[0] + damage + good[1] + b'{"ts": 3, "type": "metr')
    found = {row["global_step"]: row["loss"] for row in by_step["rows"]}
    assert (found[1], found[9]) == (0.5, 0.25)


def test_unknown_malformed_and_deleted_runs_are_404(server: Server) -> None:
    deleted = make_run(server.root, "p/n/runs/20260101_000000_dddddd", events=metrics_event(global_step=1))
    (deleted / ".deleted").write_text("{}")
    for run_id in ("20260101_000000_eeeeee", "..%2F..", "no such run", "20260101_000000_dddddd"):
        for name in ("metrics", "metrics_step"):
            wait_until(lambda path=f"/api/runs/{run_id}/{name}": server.http.get(path).status_code == 404)
            detail = server.http.get(f"/api/runs/{run_id}/{name}").json()["detail"]
            assert detail == ("Not Found" if "%2F" in run_id else f"Run not found: {run_id}")
        assert server.http.get(f"/api/runs/{run_id.replace('%2F', '')}/progress").status_code == 200


def test_a_run_without_metrics_has_no_columns(server: Server) -> None:
    directory = new_run(server)
    for path in ("metrics", "metrics_step"):
        assert server.http.get(f"/api/runs/{directory.name}/{path}").json() == {"columns": [], "rows": []}


def test_progress_is_the_same_for_every_run(server: Server) -> None:
    for run_id in ("unknown", new_run(server).name):
        answer = server.http.get(f"/api/runs/{run_id}/progress")
        assert (answer.status_code, answer.json()) == (200, {"available": False, "status": "unknown"})
    operation = server.http.get("/openapi.json").json()["paths"]["/api/runs/{run_id}/progress"]["get"]
    assert operation["deprecated"] is True


@pytest.mark.slow(4)
def test_a_line_appended_between_two_calls_is_in_the_second_answer(server: Server) -> None:
    directory = new_run(server, status={"status": "running"})
    with open(directory / "events.jsonl", "ab", buffering=0) as file:
        for step in range(1000):
            file.write(metrics_event(ts=float(step), global_step=step, loss=1 / (step + 1)).encode())
            assert server.http.get(f"/api/runs/{directory.name}/metrics_step").json()["rows"][-1]["global_step"] == step


def test_a_torn_line_appears_once_it_is_completed(server: Server) -> None:
    directory = new_run(server, metrics_event(global_step=1, loss=1.0))
    line = metrics_event(global_step=2, loss=2.0).encode()
    with open(directory / "events.jsonl", "ab", buffering=0) as file:
        file.write(line[:20])
        assert [
            row["global_step"] for row in server.http.get(f"/api/runs/{directory.name}/metrics_step").json()["rows"]
        ] == [1]
        file.write(line[20:])
        assert [
            row["global_step"] for row in server.http.get(f"/api/runs/{directory.name}/metrics_step").json()["rows"]
        ] == [1, 2]


def test_a_file_rewritten_with_the_same_mtime_is_read_again(server: Server) -> None:
    directory = new_run(server, metrics_event(global_step=1, loss=1.0) * 3)
    events = directory / "events.jsonl"
    stamp = events.stat().st_mtime_ns
    for content in (metrics_event(global_step=5, loss=5.0), metrics_event(global_step=6, loss=6.0) * 5, ""):
        write(events, content)
        os.utime(events, ns=(stamp, stamp))
        assert server.http.get(f"/api/runs/{directory.name}/metrics_step").json() == metrics_step(events)
    replaced = directory / "new"
    write(replaced, metrics_event(global_step=7, loss=7.0))
    replaced.replace(events)
    assert server.http.get(f"/api/runs/{directory.name}/metrics_step").json() == metrics_step(events)
    events.unlink()
    assert server.http.get(f"/api/runs/{directory.name}/metrics_step").json() == {"columns": [], "rows": []}


def test_a_file_edited_in_place_is_read_again(server: Server) -> None:
    lines = "".join(metrics_event(global_step=step, loss=0.5, note="x" * 64) for step in (1, 2))
    directory = new_run(server, lines)
    events = directory / "events.jsonl"
    before = server.http.get(f"/api/runs/{directory.name}/metrics_step")
    with events.open("r+b") as file:
        file.seek(lines.rindex("0.5"))
        file.write(b"0.7")
    os.utime(events, ns=(0, events.stat().st_mtime_ns + 10**9))
    after = server.http.get(
        f"/api/runs/{directory.name}/metrics_step", headers={"If-None-Match": before.headers["etag"]}
    )
    assert after.json() == metrics_step(events)
    assert [row["loss"] for row in after.json()["rows"]] == [0.5, 0.7]
    assert (
        server.http.get(f"/api/runs/{directory.name}/metrics").json()["rows"][0]["loss"] == 0.7
    )  # both are of one moment


def test_health_counts_conditional_requests_for_metrics(serve: Serve, tmp_path: Path) -> None:
    make_run(tmp_path / "r", "p/n/runs/a", events=metrics_event(global_step=1, loss=1.0))
    make_run(tmp_path / "r", "p/n/runs/silent")
    server = serve(tmp_path / "r")
    wait_until_live(server)
    etag = server.http.get("/api/runs/a/metrics_step").headers["etag"]
    again = server.http.get("/api/runs/a/metrics_step", headers={"If-None-Match": etag})
    server.http.get("/api/runs/silent/metrics_step")
    assert (again.status_code, again.content) == (304, b"")
    cache = server.http.get("/api/health").json()["cache"]
    assert (cache["hits"], cache["misses"], cache["hit_rate"], cache["size"]) == (1, 1, "50.0%", 1)


def test_others_are_answered_while_a_large_file_is_parsed_and_sent(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "r"
    make_run(root, "p/n/runs/small", events=metrics_event(global_step=1, loss=1.0))
    values = random.Random(1)
    lines = (
        metrics_event(ts=float(step), global_step=step, loss=values.random(), time=float(step))
        for step in range(200_000)
    )
    make_run(root, "p/n/runs/large", events="".join(lines))
    server = serve(root, "--rate-limit", "off")
    wait_until(lambda: server.http.get("/api/runs/large/metrics_step").status_code == 200)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        large = pool.submit(server.http.get, "/api/runs/large/metrics_step")
        answered = 0
        while not large.done():
            assert server.http.get("/api/health").status_code == 200
            answered += 1
        seconds = time.monotonic() - started
    rows = json.loads(large.result().content)["rows"]
    assert len(rows) == 200_000
    # One request after the other, each slower for the work beside it: were the loop blocked, there would be one or two.
    assert answered >= 3, f"{answered} answers in {seconds:.2f} s"
