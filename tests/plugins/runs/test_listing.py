"""`GET /api/runs` of more runs than are put together at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn_runs import listing
from tests.recorded import wait_until_live
from tests.serving import Server, serve
from tests.stores import make_run

__all__ = ["serve"]

SMALL = """
from runicorn_runs import listing
listing._AT_ONCE, listing._PIECE = 3, 2
"""


@pytest.mark.parametrize("is_small", [False, True])
def test_a_list_that_is_put_together_while_it_is_sent_is_the_same(
    serve: Callable[..., Server], tmp_path: Path, is_small: bool
) -> None:
    assert listing._PIECE < listing._AT_ONCE
    (tmp_path / "sitecustomize.py").write_text(SMALL if is_small else "")
    for number in range(7):
        make_run(tmp_path / "root", f"p/n/runs/{number}", meta={"created_at": float(number)})
    server = serve(tmp_path / "root", environment={"PYTHONPATH": str(tmp_path)})
    wait_until_live(server)
    answer = server.http.get("/api/runs")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert [run["id"] for run in answer.json()] == ["6", "5", "4", "3", "2", "1", "0"]
    assert server.http.get("/api/runs", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
