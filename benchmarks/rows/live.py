"""What is pushed instead of polled: live notices, and the lines of a log."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from websockets.sync.client import connect

from benchmarks.client import Client
from benchmarks.figures import Times, amount
from benchmarks.processes import hear, running, tell
from benchmarks.served import Served, serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_STEPS_PER_SECOND = 8  # slower than notices of one run are joined: each step is a notice
_MOST_STEPS = 80
_DEADLINE_S = 60.0
_LINE = "12:34:56 | epoch {:06} step {:08} loss 0.123456 accuracy 0.987654 lr 0.000300"


def notices(space: Workspace) -> Iterator[Row]:
    """The row for `log()` until a client of `/api/events/stream` has the notice."""
    size = space.size
    root = space.fresh("live-notices")
    ages: list[float] = []
    with serving(root, space.directory / "state-live-notices") as server:
        heard: list[tuple[float, dict[str, Any]]] = []
        request = urllib.request.urlopen(f"{server.url}/api/events/stream?type=metrics")
        listening = threading.Thread(target=_listen, args=(request, heard), daemon=True)
        listening.start()
        count = min(size.fresh_steps, _MOST_STEPS)
        for _ in range(size.fresh_rounds):
            arguments = ("steps", "--storage", str(root), "--count", str(count), "--rate", str(_STEPS_PER_SECOND))
            with running("benchmarks.trainer", *arguments) as trainer:
                run_id = json.loads(hear(trainer))["id"]
                tell(trainer)
                sent: list[float] = json.loads(hear(trainer))
                when = _when_heard(heard, run_id, len(sent))
                ages += [when[step] - at for step, at in enumerate(sent, 1) if step in when]
                tell(trainer)
    listening.join(5)
    times = Times(ages)
    yield Row(
        name="live-notices",
        what=f"`log()` → notice of `/api/events/stream`, {_STEPS_PER_SECOND} steps/s",
        budget="p50 ≤ 20 ms, p99 ≤ 60 ms",
        measured=f"{times} of {amount(len(times))} notices",
        baseline="(polling every 3 s)",
        met=(times.p50 <= 0.020 and times.p99 <= 0.060) if size.name == "full" else None,
        values={"p50": times.p50, "p99": times.p99},
    )


def log_lines(space: Workspace) -> Iterator[Row]:
    """The row for a log that is sent whole over its WebSocket."""
    lines = space.size.baseline_events
    root = space.fresh("log-lines")
    run_id = "20260101_000000_abcdef"
    path = root / "bench" / "log" / "runs" / run_id / "logs.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{_LINE.format(number // 100, number)}\n" for number in range(lines)))
    rates: list[float] = []
    with serving(root, space.directory / "state-log-lines") as server:
        client = Client(server.url)
        server.wait_until_level(client, 1)
        client.close()
        for _ in range(space.size.rounds):
            rates.append(lines / _receive(server, run_id, lines))
    theirs = lines / _read(path)
    best = sorted(rates)[len(rates) // 2]
    yield Row(
        name="log-lines",
        what=f"lines of a log of {amount(lines)} lines over its WebSocket, to one client",
        measured=f"{amount(round(best))} lines/s",
        baseline=f"reading the file alone: {amount(round(theirs))} lines/s",
        values={"lines_per_s": best},
    )


def _listen(answer: Any, heard: list[tuple[float, dict[str, Any]]]) -> None:
    with answer:
        for line in answer:
            if line.startswith(b"data: "):
                heard.append((monotonic(), json.loads(line[6:])))


def _when_heard(heard: list[tuple[float, dict[str, Any]]], run_id: str, last: int) -> dict[int, float]:
    """When each step of a run was told, once the last one was."""
    deadline = monotonic() + _DEADLINE_S
    while True:
        found = {message["step"]: when for when, message in heard if message.get("run_id") == run_id}
        if found and max(found) >= last:
            return found
        if monotonic() > deadline:
            raise TimeoutError(f"only {len(found)} of {last} steps were told")
        sleep(0.01)


def _receive(server: Served, run_id: str, lines: int) -> float:
    """Seconds until a client has all lines."""
    url = f"{server.url.replace('http', 'ws')}/api/runs/{run_id}/logs/ws?offset=0"
    with connect(url, compression=None) as connection:
        start = perf_counter()
        for _ in range(lines):
            connection.recv(timeout=_DEADLINE_S)
        return perf_counter() - start


def _read(path: Path) -> float:
    start = perf_counter()
    with path.open(encoding="utf-8") as file:
        for _ in file:
            pass
    return perf_counter() - start
