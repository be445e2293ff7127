"""`runicorn state`: looking into read models and compacting them, beside a server and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.core.cli.test_events import runicorn
from tests.recorded import wait_until_live
from tests.serving import Server, serve
from tests.stores import make_run, metrics_event

__all__ = ["serve"]


def report(root: Path) -> dict:
    done = runicorn("state", "--storage", str(root), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_store_without_state_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    assert report(tmp_path / "root") == {"bytes": 0, "models": [], "unreadable": []}
    done = runicorn("state", "--storage", str(tmp_path / "root"), "--compact")
    assert (done.returncode, done.stdout) == (0, "Freed 0.0 MiB of 0.0 MiB: no files\n")


def test_files_rows_and_checkpoints_are_shown_and_compaction_keeps_serving(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    events = [metrics_event(global_step=i, loss=i / 7) for i in range(9000)]
    big = make_run(root, "p/n/runs/big", events="".join(events))
    make_run(root, "p/n/runs/small", events=events[0])
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    models = {model["plugin"]: model for model in report(root)["models"]}
    runs = models["runs"]
    assert runs["ready"]
    assert runs["progress"] is None
    assert runs["streams"] >= 2
    assert runs["applied_bytes"] >= sum(map(len, events))
    assert (runs["rows"]["run"], runs["rows"]["metric_chunk"]) == (2, 2)
    (big / "events.jsonl").unlink()
    assert server.http.get("/api/runs/big/metrics_step").json()["rows"] == []
    etag = server.http.get("/api/runs").headers["etag"]

    done = runicorn("state", "--storage", str(root), "--compact", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["freed_bytes"] == result["bytes_before"] - result["bytes_after"] > 0
    assert set(result["plugins"]) == set(models)
    after = {model["plugin"]: model for model in report(root)["models"]}
    assert after["runs"]["generation"] > runs["generation"]
    assert after["runs"]["free_bytes"] <= runs["free_bytes"]
    listed = server.http.get("/api/runs", headers={"If-None-Match": etag})
    assert listed.status_code == 200
    assert {run["id"] for run in listed.json()} == {"big", "small"}
    with open(root / "p/n/runs/small/events.jsonl", "a") as file:
        file.write(events[1])
    assert len(server.http.get("/api/runs/small/metrics_step").json()["rows"]) == 2

    server.stop()
    again = runicorn("state", "--storage", str(root), "--compact")
    assert again.returncode == 0
    assert "Freed" in again.stdout
    shown = runicorn("state", "--storage", str(root)).stdout
    assert "ready" in shown
    assert "rows: " in shown
