"""V2 while its read model cannot be opened: never an empty success, never a bug."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server, serve
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

RUN = "20250114_000001_abcdef"
REQUIRED = {"q": "needle", "metric_name": "loss"}


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    """A server of a store with a run; what was the read model of runs is a directory, which no process can open."""
    root = tmp_path / "root"
    meta = {"project": "p", "name": "n", "created_at": 5.0}
    events = metrics_event(loss=1.0, global_step=1)
    make_run(root, f"p/n/runs/{RUN}", meta=meta, status={"status": "finished"}, events=events)
    before = serve(root)
    wait_until_live(before)
    assert before.http.get(f"/api/v2/experiments/{RUN}").status_code == 200
    before.stop()
    files = list((root / ".runicorn/state").glob("runs-*.db*"))
    assert any(file.suffix == ".db" for file in files)
    for file in files:
        file.unlink()
        if file.suffix == ".db":
            file.mkdir()
    return serve(root, "--rate-limit", "off")


@pytest.mark.slow(3)
def test_without_a_read_model_that_opens_every_route_is_unavailable(server: Server) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    asked = {path: operations for path, operations in paths.items() if path.startswith("/api/v2/")}
    answers: dict[str, tuple[int, object]] = {}
    for path, operations in asked.items():
        if "get" in operations:
            answer = server.http.get(path.replace("{exp_id}", RUN), params=REQUIRED | query_of(path))
            answers[path] = answer.status_code, answer.json()
    for path, body in (
        ("/api/v2/experiments/batch-delete", {"exp_ids": [RUN]}),
        ("/api/v2/metrics/compare", {"runs": [RUN]}),
    ):
        answer = server.http.post(path, json=body)
        answers[f"POST {path}"] = answer.status_code, answer.json()
    assert len(answers) > 10
    unavailable = (503, {"detail": "Storage unavailable"})
    assert {path: answer for path, answer in answers.items() if answer != unavailable} == {}
    assert not (server.root / "p/n/runs" / RUN / ".deleted").exists()


def query_of(path: str) -> dict[str, str]:
    """`q` is text in a search, but a condition in a list."""
    return {"q": "status = finished"} if path == "/api/v2/experiments" else {}
