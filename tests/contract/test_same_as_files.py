"""Each V1 answer about a store of 0.4.0 equals what a simple scan of its files says: nothing is lost between log and answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.recorded import RUNS, recorded, run_directories, wait_until_live
from tests.reference_v1 import Reference, csv_table
from tests.serving import Server, serve, wait_until

__all__ = ["recorded", "serve"]

Serve = Callable[..., Server]


def as_found(recorded: Path) -> None:
    """Give the store what a used one has: runs in the bin, without files, of the legacy layout, with odd names."""
    first, second, third, fourth, fifth, *_ = run_directories(recorded)
    (first / ".deleted").write_text('{"deleted_at": 17.5, "reason": "user_deleted", "original_status": "finished"}')
    (second / "summary.json").write_text('{"best_metric_value": NaN, "best_metric_name": "loss"}')
    (third / "status.json").unlink()
    shutil.move(fourth, recorded / "runs" / fourth.name)
    shutil.move(fifth, recorded / "Ünicode & co" / "ß name" / "runs" / fifth.name)
    meta = recorded / "Ünicode & co" / "ß name" / "runs" / fifth.name / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "project": None, "name": ""}))


@pytest.mark.slow(2)
def test_every_answer_equals_what_the_files_say(recorded: Path, serve: Serve) -> None:
    as_found(recorded)
    expected = Reference(recorded)
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)
    served = set(server.http.get("/openapi.json").json()["paths"])

    compared: dict[str, int] = {}
    for path, answer in expected.answers().items():
        template = template_of(path, served)
        assert template is not None, f"nothing serves {path}"
        compared[template] = compared.get(template, 0) + 1
        got = server.http.get(quote(path))
        assert got.status_code == 200, f"{path}: {got.text}"
        assert as_far_as(answer, got.json()) == answer, path
    assert compared["/api/runs/{run_id}/metrics_step"] == len(expected.listed)
    assert len(expected.runs) == RUNS
    for path in expected.runs:
        if path not in expected.listed:
            assert server.http.get(f"/api/runs/{path.name}").status_code == 404


def test_exported_tables_equal_what_the_files_say(recorded: Path, serve: Serve) -> None:
    expected = Reference(recorded)
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)
    for path in expected.listed:
        answer = server.http.get(f"/api/export/{path.name}/csv")
        rows = expected.csv_rows(path)
        if len(rows) == 1:
            assert answer.status_code == 404
        else:
            assert csv_table(answer.text) == rows, path


def test_they_stay_equal_while_files_change(recorded: Path, serve: Serve) -> None:
    server = serve(recorded, "--rate-limit", "off")
    wait_until_live(server)
    run = run_directories(recorded)[7]
    last = json.loads((run / "events.jsonl").read_text().splitlines()[-1])
    with open(run / "events.jsonl", "a") as file:
        for step in range(10_000, 10_050):
            file.write(json.dumps({**last, "type": "metrics", "data": {"global_step": step, "new": step / 7}}) + "\n")
    (run / "status.json").write_text('{"status": "running", "started_at": 5.0, "ended_at": 4e9}')
    (run_directories(recorded)[3] / ".deleted").write_text('{"deleted_at": 4e9, "reason": "r", "original_status": "s"}')
    expected = Reference(recorded).answers()
    assert (
        server.http.get(f"/api/runs/{run.name}/metrics_step").json() == expected[f"/api/runs/{run.name}/metrics_step"]
    )
    wait_until(lambda: _same(server, expected["/api/runs"]), "the same list")


def _same(server: Server, expected: Any) -> bool:
    return as_far_as(expected, server.http.get("/api/runs").json()) == expected


def as_far_as(expected: Any, got: Any) -> Any:
    """`got` without the fields that answers may have besides those of the contract; tables have none."""
    if isinstance(expected, dict) and isinstance(got, dict) and "rows" not in expected:
        return {key: as_far_as(expected.get(key), value) for key, value in got.items() if key in expected}
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [as_far_as(one, other) for one, other in zip(expected, got, strict=True)]
    return got


def template_of(path: str, served: set[str]) -> str | None:
    """The documented path that a path belongs to."""
    parts = path.split("/")
    for template in served:
        pattern = template.split("/")
        if len(pattern) == len(parts) and all(
            one == other or one.startswith("{") for one, other in zip(pattern, parts, strict=True)
        ):
            return template
    return None
