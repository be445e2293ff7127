"""A busy minute: eight trainings, fifty readers of logs, live clients, and twenty pollers of every endpoint.

`RUNICORN_SOAK_S=3600 pytest -m slow tests/faults/test_soak.py -s` takes an hour.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect

from tests.live_clients import SocketClient, SseClient
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]

SECONDS = float(os.environ.get("RUNICORN_SOAK_S", "60"))
TRAININGS, STEPS_PER_SECOND, READERS, POLLERS = 8, 100, 50, 20
SAMPLE_S = 0.5

_TRAINING = """
import sys, time
import runicorn as rn
run = rn.Run("soak", sys.argv[1], None, "n", capture_env=False)
print(run.id, flush=True)
begin, step = time.monotonic(), 0
while time.monotonic() < begin + float(sys.argv[2]):
    step += 1
    run.log({"loss": 1 / step, "accuracy": 1 - 1 / step})
    if step % 10 == 0:
        run.log_text(f"step {step}")
    time.sleep(max(0.0, begin + step / float(sys.argv[3]) - time.monotonic()))
run.finish()
print(step, flush=True)
"""


ELSEWHERE = ("/api/v2/", "/api/events/", "/api/unified/", "/api/ssh/", "/api/remote/")


class Samples:
    """Memory and descriptors of the server's processes over time."""

    def __init__(self, server: Server) -> None:
        self._processes = [psutil.Process(server.process.pid)]
        self._processes += self._processes[0].children(recursive=True)
        self.memory: list[float] = []
        self.descriptors: list[int] = []

    def take(self) -> None:
        self.memory.append(sum(process.memory_info().rss for process in self._processes) / 2**20)
        self.descriptors.append(sum(process.num_fds() for process in self._processes))


def growth(values: list[float] | list[int]) -> float:
    """How much a straight line through the second half rises over that half, as a share of where it begins."""
    half = np.asarray(values[len(values) // 2 :], dtype=float)
    slope, start = np.polyfit(np.arange(len(half)), half, 1)
    return float(slope * len(half) / start)


def held_for_clients(server: Server) -> list[str]:
    """Connections and logs that the server has open, besides the connection of this test."""
    process = psutil.Process(server.process.pid)
    connections = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    logs = [file.path for file in process.open_files() if file.path.endswith("logs.txt")]
    return logs + [str(one.raddr) for one in connections[1:]]


@pytest.mark.slow(SECONDS + 15)
@pytest.mark.timeout(SECONDS * 2 + 240)
def test_a_busy_minute_has_no_error_and_leaves_nothing_behind(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until_live(server)
    command = [sys.executable, "-c", _TRAINING, str(server.root), str(SECONDS + 10), str(STEPS_PER_SECOND)]
    trainings = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(TRAININGS)]
    run_ids = [_line_of(training) for training in trainings]
    for run_id in run_ids:
        wait_until(lambda run_id=run_id: server.http.get(f"/api/runs/{run_id}").status_code == 200)
    live = [SseClient(server), SocketClient(server, "type=run.")]

    ending = threading.Event()
    problems: list[str] = []
    times: list[float] = []
    unchanged: list[str] = []
    paths = _paths(server, run_ids)
    pollers = [
        threading.Thread(target=_poll, args=(server, paths[start:] + paths[:start], ending, problems, times, unchanged))
        for start in range(0, POLLERS * 3, 3)
    ]
    readers = threading.Thread(target=lambda: asyncio.run(_read_logs(server, run_ids, ending, problems)))
    samples = Samples(server)
    for thread in (*pollers, readers):
        thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not problems:
            ending.wait(SAMPLE_S)
            samples.take()
    finally:
        ending.set()
        for thread in (*pollers, readers):
            thread.join(30)
    steps = [int(_line_of(training)) for training in trainings]
    for training in trainings:
        training.communicate(timeout=30)

    assert not problems, problems[:5]
    assert unchanged, "no answer was ever the one that a client had"
    for run_id, count in zip(run_ids, steps, strict=True):
        rows = server.http.get(f"/api/runs/{run_id}/metrics_step").json()["rows"]
        assert [row["global_step"] for row in rows] == list(range(1, count + 1))
    for client in live:
        client.until(lambda message: message["type"] == "run.finished")
        client.close()
    with capsys.disabled():
        print(
            f"\nsoak: {len(times)} × GET /api/runs, p99 {np.percentile(times, 99) * 1e3:.1f} ms; {sum(steps)} steps;"
            f" {len(unchanged)} × 304;"
            f" memory {samples.memory[0]:.0f} → {samples.memory[-1]:.0f} MiB ({growth(samples.memory):+.1%}),"
            f" descriptors {samples.descriptors[0]} → {samples.descriptors[-1]}"
        )
    assert growth(samples.memory) < 0.15
    assert abs(growth(samples.descriptors)) < 0.1
    wait_until(lambda: held_for_clients(server) == [], "what was open for clients that have left")
    server.stop()
    assert "Traceback" not in server.log


def _line_of(training: subprocess.Popen[str]) -> str:
    assert training.stdout is not None
    return training.stdout.readline().strip()


def _paths(server: Server, run_ids: list[str]) -> list[str]:
    """Every GET of V1 that needs no parameter but the id of a run."""
    found: list[str] = []
    for template, item in server.http.get("/openapi.json").json()["paths"].items():
        if "get" not in item or template.startswith(ELSEWHERE) or template.endswith("/ws"):
            continue
        needs_more = any(one.get("required") and one["in"] == "query" for one in item["get"].get("parameters", ()))
        if not needs_more and template.count("{") == template.count("{run_id}"):
            found += [template.replace("{run_id}", run_id) for run_id in run_ids[: 1 + template.count("{") * 8]]
    return [path for path in found for path in ("/api/runs", path)]


def _poll(
    server: Server,
    paths: list[str],
    ending: threading.Event,
    problems: list[str],
    times: list[float],
    unchanged: list[str],
) -> None:
    """Ask for one path after the other, as a browser does that keeps what it has got."""
    etags: dict[str, str] = {}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        for path in itertools.cycle(paths):
            if ending.wait(0.05):
                return
            started = time.perf_counter()
            connection.request("GET", path, headers={"If-None-Match": etags[path]} if path in etags else {})
            answer = connection.getresponse()
            body = answer.read()
            if path == "/api/runs":
                times.append(time.perf_counter() - started)
            if answer.status == 304:
                unchanged.append(path)
            elif etag := answer.headers["etag"]:
                etags[path] = etag
            if answer.status >= 500 or (answer.status >= 400 and answer.status != 404):
                problems.append(f"{path}: {answer.status} {body[:200]!r}")
    except Exception as error:  # whatever it is, the test has to say so
        problems.append(f"poller: {type(error).__name__}: {error}")
    finally:
        connection.close()


async def _read_logs(server: Server, run_ids: list[str], ending: threading.Event, problems: list[str]) -> None:
    async def read(run_id: str) -> None:
        url = f"{server.url.replace('http', 'ws')}/api/runs/{run_id}/logs/ws"
        last = 0
        try:
            async with connect(url) as socket:
                while not ending.is_set():
                    frame: Any = None
                    try:
                        async with asyncio.timeout(1):
                            frame = await socket.recv()
                    except TimeoutError:
                        continue
                    if frame.startswith("[info]"):
                        continue
                    step = int(frame.rpartition(" ")[2])
                    if step != last + 10:
                        problems.append(f"log of {run_id}: {step} after {last}")
                    last = step
        except Exception as error:  # whatever it is, the test has to say so
            problems.append(f"log of {run_id}: {type(error).__name__}: {error}")
        if not last:
            problems.append(f"log of {run_id}: nothing came")

    await asyncio.gather(*(read(run_ids[number % len(run_ids)]) for number in range(READERS)))
