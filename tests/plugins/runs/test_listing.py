"""`GET /api/runs`: the list is kept in blocks, and those of more runs than are put together at once are compressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

SMALL = """
from runicorn_runs import listing
listing._MOST_AT_ONCE, listing._RUNS_PER_BLOCK = {most}, {block}
"""


@pytest.mark.parametrize(("most", "block"), [(20_000, 256), (20_000, 3), (3, 2), (3, 1000)])
def test_a_list_in_blocks_is_the_same_however_it_is_cut_and_sent(
    serve: Callable[..., Server], tmp_path: Path, most: int, block: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SMALL.format(most=most, block=block))
    for number in range(10, 30):
        _make(tmp_path / "root", number)
    server = serve(tmp_path / "root", environment={"PYTHONPATH": str(tmp_path)})
    wait_until_live(server)
    answer = server.http.get("/api/runs")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert _ids(answer.json()) == [str(number) for number in range(29, 9, -1)]
    assert server.http.get("/api/runs", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(("most", "block"), [(20_000, 3), (3, 2), (11, 3)])
def test_blocks_in_which_something_changed_are_encoded_again(
    serve: Callable[..., Server], tmp_path: Path, most: int, block: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SMALL.format(most=most, block=block))
    root = tmp_path / "root"
    for number in range(10, 20):
        _make(root, number)
    server = serve(root, environment={"PYTHONPATH": str(tmp_path)})
    wait_until_live(server)
    expected = {str(number): "finished" for number in range(10, 20)}
    assert _statuses(server) == expected

    server.http.post("/api/runs/soft-delete", json={"run_ids": ["13", "19"]}).raise_for_status()
    del expected["13"], expected["19"]
    assert _statuses(server) == expected

    for number in (20, 21):
        _make(root, number, status="failed")
    (root / "p/n/runs/15/status.json").write_text('{"status": "failed"}')
    expected.update({"20": "failed", "21": "failed", "15": "failed"})
    wait_until(lambda: _statuses(server) == expected)

    server.http.post("/api/recycle-bin/restore", json={"run_ids": ["13"]}).raise_for_status()
    expected["13"] = "finished"
    assert _statuses(server) == expected

    server.http.post("/api/runs/soft-delete", json={"run_ids": list(expected)}).raise_for_status()
    assert server.http.get("/api/runs").content == b"[]"


def _make(root: Path, number: int, status: str = "finished") -> None:
    make_run(root, f"p/n/runs/{number}", meta={"created_at": float(number)}, status={"status": status})


def _statuses(server: Server) -> dict[str, str]:
    listed = server.http.get("/api/runs").json()
    assert _ids(listed) == sorted(_ids(listed), reverse=True)
    return {run["id"]: run["status"] for run in listed}


def _ids(listed: list[dict[str, Any]]) -> list[str]:
    return [run["id"] for run in listed]
