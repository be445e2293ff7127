"""`runicorn demo`: one command, real trainings, live answers, a clean end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.serving import wait_until

COMMAND = [sys.executable, "-m", "runicorn", "demo", "--port", "0", "--steps", "60"]


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/api/health").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_trainings_are_live_over_http_and_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--speed", "30", "--storage", str(tmp_path / "demo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        killer = threading.Timer(60, process.terminate)
        killer.start()
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found[0], timeout=10) as http:

            def running() -> list[dict]:
                return [run for run in http.get("/api/runs").json() if run["status"] == "running"]

            wait_until(running, "a live run")
            run_id = running()[0]["id"]
            seen = [len(http.get(f"/api/runs/{run_id}/metrics_step").json()["rows"])]
            wait_until(
                lambda: len(http.get(f"/api/runs/{run_id}/metrics_step").json()["rows"]) > seen[0], "a step more"
            )
            process.send_signal(number)
            process.stdout.read()
            assert process.wait(20) == 0
            wait_until(lambda: not answers(http), "the end of the server")
        killer.cancel()
    (status,) = [json.loads(path.read_text()) for path in tmp_path.glob(f"demo/demo/*/runs/{run_id}/status.json")]
    assert status["status"] == "interrupted"


def test_with_once_it_ends_by_itself_with_four_finished_runs(tmp_path: Path) -> None:
    command = [*COMMAND, "--speed", "10000", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "curl -s http://127.0.0.1:" in done.stdout
    runs = list((tmp_path / "runicorn_demo").glob("demo/*/runs/*"))
    assert len(runs) == 4
    best = {}
    for run in runs:
        assert json.loads((run / "status.json").read_text())["status"] == "finished"
        assert list((run / "media").glob("*.png"))
        assert "training" in (run / "logs.txt").read_text()
        best[run.parts[-3]] = json.loads((run / "summary.json").read_text())["best_metric_value"]
    assert best["two-layer"] > best["softmax"]  # it does learn what the linear model cannot


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "runicorn", "demo", "--port", port],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
        )
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
