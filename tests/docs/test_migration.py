"""What docs/migration.md says of V1 and V2: both routes of each line answer, and about the same run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import runicorn
from tests.serving import Server

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
PAIRS = re.findall(r"^\| `((?:GET|POST) /api/[^`]+)` \| `((?:GET|POST) /api/v2/[^`]+)` \|", PAGE, re.M)


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    return serve(tmp_path / "root", "--rate-limit", "off")


def ask(server: Server, route: str, run_id: str) -> httpx.Response:
    method, path = re.sub(r"\{\w+\}", run_id, route).replace("…", "").split(" ")
    body = {"exp_ids": [run_id]} if "/v2/" in path else {"run_ids": [run_id]}
    return server.http.request(method, path, json=body if method == "POST" else None)


def test_both_routes_of_each_line_answer_about_the_same_run(server: Server) -> None:
    assert len(PAIRS) == 6
    for old, new in PAIRS:
        with runicorn.init("migrated", storage=str(server.root), capture_env=False) as run:
            run.log({"loss": 0.5})
        server.wait_until_visible()
        about = "migrated" if "projects" in old else run.id
        for route in (old, new):
            answer = ask(server, route, run.id)
            assert answer.status_code == 200, f"{route}: {answer.text}"
            if "metrics" in route:
                assert "0.5" in answer.text, route
            else:
                assert about in answer.text, f"{route}: {answer.text}"
