"""Runicorn 0.4.0 and ours on one store: each reads what the other writes, while both run.

0.4.0 is installed as published, from the package index that pip is configured for. Where that cannot be reached the tests
are skipped, but in CI they fail: there a promise that is not checked is none.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock
from websockets.sync.client import connect

import runicorn as rn
from tests.plugins.runs.logs.log_clients import Client
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELEASE = "runicorn==0.4.0"
Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has nothing but 0.4.0; one for all tests of a session."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    python = shared / "released" / "bin" / "python"
    with FileLock(shared / "released.lock"):
        if not (shared / "released.complete").exists():
            venv.create(shared / "released", with_pip=False)
            # What is imported is compiled then.
            pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
            command = [*pip, "install", "--no-compile", RELEASE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=500)
            if done.returncode != 0:
                reason = f"{RELEASE} cannot be installed:\n{done.stderr[-1000:]}"
                if os.environ.get("RUNICORN_CI"):
                    pytest.fail(reason)
                pytest.skip(reason)
            (shared / "released.complete").touch()
    return python


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the user's own for 0.4.0 to find."""
    home = str(tmp_path / "home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNICORN_", "PYTHON"))}
    return {**kept, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home, "NO_PROXY": "*"}


@contextlib.contextmanager
def viewer(python: Path, root: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """0.4.0's viewer on a store, and a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "runicorn.cli", "viewer", "--storage", root, "--host", "127.0.0.1", "--port", str(port)]
    log = root.parent / "viewer.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

                def answers() -> bool:
                    assert process.poll() is None, log.read_text()
                    with contextlib.suppress(httpx.TransportError):
                        return client.get("/api/health").status_code == 200
                    return False

                wait_until(answers, "0.4.0's viewer", timeout_s=60)
                yield client
        finally:
            process.kill()


def our_run(root: Path) -> rn.Run:
    """A finished run with what a training logs: several metrics, stages, gaps, NaN, text, an image."""
    run = rn.Run("vision", str(root), None, "resnet", capture_env=False)
    run.set_primary_metric("accuracy")
    for step in range(1, 101):
        values: dict[str, Any] = {"loss": 1 / step, "lr": 10.0**-step}
        if step % 5 == 0:
            values["accuracy"] = step / 100
        if step == 50:
            values["loss"] = math.nan
        run.log(values, stage="warmup" if step < 20 else "train")
    run.log_text("hello from ours")
    run.log_image("figure", b"\x89PNG\r\n\x1a\n")
    run.summary({"note": "Grüße", "accuracy": 1.0})
    run.finish()
    return run


def test_its_viewer_shows_our_runs_with_the_same_metrics(
    old_python: Path, environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    run = our_run(root)
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    with viewer(old_python, root, environment) as theirs:
        (item,) = theirs.get("/api/runs").json()
        (ours,) = server.http.get("/api/runs").json()
        assert {key: item[key] for key in ours if key in item} == {key: ours[key] for key in ours if key in item}
        assert item["id"] == run.id
        assert (item["status"], item["best_metric_name"], item["best_metric_value"]) == ("finished", "accuracy", 1.0)
        path = f"/api/runs/{run.id}/metrics_step"
        assert theirs.get(path).json() == server.http.get(path).json()
        assert len(theirs.get(path).json()["rows"]) == 100


def test_what_it_deletes_is_in_our_bin_within_two_seconds(
    old_python: Path, environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    run, kept = our_run(root), our_run(root)
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    with viewer(old_python, root, environment) as theirs:
        done = theirs.post("/api/runs/soft-delete", json={"run_ids": [run.id]})
        assert done.json()["deleted_count"] == 1, done.text
        wait_until(lambda: [one["id"] for one in server.http.get("/api/runs").json()] == [kept.id], timeout_s=2)
        assert server.http.get(f"/api/runs/{run.id}").status_code == 404
        if "/api/recycle-bin" in server.http.get("/openapi.json").json()["paths"]:
            wait_until(lambda: server.http.get("/api/recycle-bin").json()["deleted_runs"], timeout_s=2)
            (deleted,) = server.http.get("/api/recycle-bin").json()["deleted_runs"]
            assert (deleted["id"], deleted["original_status"]) == (run.id, "finished")
            server.http.post("/api/recycle-bin/restore", json={"run_ids": [run.id]})
            assert len(theirs.get("/api/runs").json()) == 2


_TRAINING = """
import sys, time
import runicorn as rn
run = rn.init(project="old", storage=sys.argv[1], name="sdk", capture_env=False)
print(run.id, flush=True)
for step in range(1, 31):
    rn.log({"loss": 1.0 / step})
    rn.log_text(f"step {step}")
    if step == 10:
        sys.stdin.readline()
rn.summary({"note": "done"})
rn.finish()
print("finished", flush=True)
"""


def test_a_run_of_its_sdk_appears_with_live_metrics_and_log(
    old_python: Path, environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    server = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until_live(server)
    command = [str(old_python), "-c", _TRAINING, str(server.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as training:
        assert training.stdout is not None
        assert training.stdin is not None
        run_id = training.stdout.readline().strip()
        assert run_id
        path = f"/api/runs/{run_id}/metrics_step"

        def steps() -> int:
            answer = server.http.get(path)
            return len(answer.json()["rows"]) if answer.status_code == 200 else 0

        wait_until(lambda: steps() == 10, "the first steps")
        wait_until(lambda: server.http.get(f"/api/runs/{run_id}").json()["status"] == "running")
        with connect(f"{server.url.replace('http', 'ws')}/api/runs/{run_id}/logs/ws") as connection:
            client = Client(connection)
            assert [frame.partition(" | ")[2] for frame in client.frames(10)] == [f"step {n}" for n in range(1, 11)]
            training.stdin.write("\n")
            training.stdin.flush()
            assert [frame.partition(" | ")[2] for frame in client.frames(20)] == [f"step {n}" for n in range(11, 31)]
        assert training.stdout.readline().strip() == "finished"
    assert steps() == 30
    wait_until(lambda: server.http.get(f"/api/runs/{run_id}").json()["status"] == "finished")
