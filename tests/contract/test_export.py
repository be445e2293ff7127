"""`GET /api/export/{run_id}/csv` and `/report` over real HTTP."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server, wait_until
from tests.stores import make_run, metrics_event

RUN = "20250114_153045_a1b2c3"
META = {"id": RUN, "project": "vision", "name": "res\nnet", "created_at": 1704067200.0, "python": "3.11.7"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "root"


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    root.mkdir()
    server = Server(root, "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop(signal.SIGTERM)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    return list(csv.reader(io.StringIO("\n".join(lines), newline="")))


def test_csv_has_the_format_of_the_contract(server: Server, root: Path) -> None:
    events = metrics_event(1.0, global_step=10, time=1704067200.75, stage="warmup", acc=0.58, loss=1.0)
    events += metrics_event(2.0, loss=None, acc=True, zzz=[1, "a"], big=1e-07)
    make_run(root, f"vision/resnet/runs/{RUN}", events=events, meta=META)
    answer = server.http.get(f"/api/export/{RUN}/csv")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f"attachment; filename={RUN}_metrics.csv"
    first, rest = answer.text.split("\n", 1)
    assert re.fullmatch(r"# Runicorn Export - \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+", first)
    assert rest == (
        f"# Project: vision\n# Experiment: res net\n# Run ID: {RUN}\n#\n"
        "global_step,time,stage,acc,big,loss,zzz\r\n"
        "10,1704067200.75,warmup,0.58,,1.0,\r\n"
        ",,,True,1e-07,,\"[1, 'a']\"\r\n"
    )


def test_odd_lines_do_not_lose_rows_and_formulas_are_neutralised(server: Server, root: Path) -> None:
    events = (
        b'{"ts": 1, "type": "metrics", "data": null}\n[1]\nnonsense\n'
        b'{"ts": 2, "type": "metrics", "data": {"=cmd()": "=1+1", "a": -1, "b": "@x", "c": NaN}}\n'
        b'{"ts": 3, "type": "metrics", "data": {"a": "\xff\xfe-", "d": "\\tx", "e": "\\rx", "f": "+1", "g": Infinity}}\n'
        b'{"ts": 4, "type": "metrics", "data": {"a": 4'
    )
    make_run(root, "p/n/runs/odd", events=events)
    rows = rows_of(server.http.get("/api/export/odd/csv").text)
    assert rows[0] == ["'=cmd()", "a", "b", "c", "d", "e", "f", "g"]
    assert rows[1] == ["'=1+1", "-1", "'@x", "nan", "", "", "", ""]
    assert rows[2] == ["", "'-", "", "", "'\tx", "'\rx", "'+1", "inf"]
    assert len(rows) == 3


def test_without_a_usable_event_there_is_nothing_to_export(server: Server, root: Path) -> None:
    make_run(root, "p/n/runs/silent")
    make_run(root, "p/n/runs/empty", events=b'{"ts": 1, "type": "metrics", "data": null}\n')
    for run_id in ("silent", "empty"):  # an empty directory is a run once nobody has filled it
        wait_until(lambda run_id=run_id: server.http.get(f"/api/runs/{run_id}").status_code == 200)
        answer = server.http.get(f"/api/export/{run_id}/csv")
        assert (answer.status_code, answer.json()) == (404, {"detail": "No metrics to export"})


def test_unknown_and_deleted_runs_are_not_found(server: Server, root: Path) -> None:
    make_run(root, "p/n/runs/gone", events=metrics_event(a=1)).joinpath(".deleted").write_text("{}")
    for run_id in ("nope", "gone"):
        for what in ("csv", "report", "report?format=html"):
            answer = server.http.get(f"/api/export/{run_id}/{what}")
            assert (answer.status_code, answer.json()) == (404, {"detail": f"Run not found: {run_id}"})


def test_only_markdown_and_html_are_reports(server: Server) -> None:
    for query in ("format=pdf", "format=", "format=HTML"):
        answer = server.http.get(f"/api/export/nope/report?{query}")
        assert (answer.status_code, answer.json()) == (400, {"detail": "Format must be markdown or html"})


def test_a_markdown_report_has_the_sections_of_the_files_that_exist(server: Server, root: Path) -> None:
    make_run(
        root,
        "p/n/runs/told",
        events=metrics_event(loss=2.0, acc=True, time=5) + metrics_event(loss=1.0),
        meta={"id": "told", "project": "p|q", "name": "n", "created_at": 1704067200.0},
        status={"status": "finished", "started_at": 10.0, "ended_at": 22.34},
        summary={"a|b": "x\ny"},
    )
    answer = server.http.get("/api/export/told/report")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=told_report.markdown"
    text = answer.text
    for expected in (
        "# Experiment Report\n",
        "## Experiment Information\n",
        "- **Project**: p|q\n",
        "- **Run ID**: told\n",
        "- **Platform**: N/A\n",
        "- **Duration**: 12.34 seconds\n",
        "| a\\|b | x y |\n",
        "Total events recorded: 2\n",
        "| loss | 1.000000 | 2.000000 | 1.500000 | 1.000000 |\n",
        "| acc | 1.000000 | 1.000000 | 1.000000 | 1.000000 |\n",
    ):
        assert expected in text
    assert "| time" not in text


def test_project_name_and_id_are_those_of_lists_where_the_file_does_not_say_them(server: Server, root: Path) -> None:
    make_run(root, "place/here/runs/quiet", events=metrics_event(loss=1.0), meta={"project": "", "name": 5})
    make_run(root, "runs/legacy", events=metrics_event(loss=1.0), meta={"id": "another"})

    csv_text = server.http.get("/api/export/quiet/csv").text
    assert "# Project: place\n# Experiment: here\n# Run ID: quiet\n" in csv_text
    report = server.http.get("/api/export/quiet/report").text
    assert "- **Project**: place\n- **Experiment**: here\n- **Run ID**: quiet\n" in report
    csv_text = server.http.get("/api/export/legacy/csv").text
    assert "# Project: N/A\n# Experiment: N/A\n# Run ID: legacy\n" in csv_text
    command = [sys.executable, "-m", "runicorn", "export-data", "--storage", str(root), "--run-id", "quiet"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "# Project: place\n# Experiment: here\n# Run ID: quiet\n" in printed


def test_nothing_in_an_html_report_is_active(server: Server, root: Path) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    make_run(
        root,
        "p/n/runs/hostile",
        events=metrics_event(**{attack: 1.0}) + metrics_event(**{attack: 3.0}),
        meta={"id": attack, "project": attack, "name": attack, "platform": attack},
        status={"status": attack},
        summary={attack: attack},
    )
    answer = server.http.get("/api/export/hostile/report?format=html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=hostile_report.html"
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert answer.text.count(html.escape(attack)) >= 7
    assert "<svg" in answer.text
    assert "polyline" in answer.text


@pytest.mark.parametrize("run_id", ["lauf-ü", 'quote"d', "a b;c", "中文", "per%cent"])
def test_any_id_downloads_under_its_name(server: Server, root: Path, run_id: str) -> None:
    make_run(root, f"p/n/runs/{run_id}", events=metrics_event(a=1))
    path = f"/api/export/{run_id.replace('%', '%25')}/csv"
    wait_until(lambda: server.http.get(path).status_code == 200)  # made by hand, found soon
    header = server.http.get(path).headers["content-disposition"]
    found = re.fullmatch(
        r"attachment; filename=\"([A-Za-z0-9._ ;'-]+)\"; filename\*=UTF-8''([A-Za-z0-9._~%-]+)", header
    )
    assert found is not None, header
    assert unquote(found[2]) == f"{run_id}_metrics.csv"


def test_a_report_leaves_nothing_on_disk(server: Server, root: Path) -> None:
    make_run(root, "p/n/runs/tidy", events=metrics_event(a=1))
    before = sorted(path for path in root.glob("p/**/*"))
    for what in ("csv", "report", "report?format=html"):
        assert server.http.get(f"/api/export/tidy/{what}").status_code == 200
    assert sorted(path for path in root.glob("p/**/*")) == before


def test_others_are_answered_while_a_long_run_is_exported(server: Server, root: Path) -> None:
    lines = (metrics_event(float(step), global_step=step, loss=step / 3, acc=step / 7) for step in range(120_000))
    make_run(root, "p/n/runs/long", events="".join(lines))
    assert server.http.get("/api/runs/long").status_code == 200

    with ThreadPoolExecutor(1) as pool:
        export = pool.submit(server.http.get, "/api/export/long/csv")
        answered = 0
        started = time.monotonic()
        while not export.done():
            assert server.http.get("/api/health").status_code == 200
            answered += 1
        seconds = time.monotonic() - started
    rows = rows_of(export.result().text)
    assert len(rows) == 120_001
    assert rows[120_000] == ["119999", repr(119_999 / 7), repr(119_999 / 3)]
    assert answered >= 5, f"{answered} answers in {seconds:.2f} s"


def test_the_description_of_the_api_has_the_routes(server: Server) -> None:
    paths = json.loads(server.http.get("/openapi.json").content)["paths"]
    assert "text/csv" in json.dumps(paths["/api/export/{run_id}/csv"]["get"]["responses"]["200"])
    upload = paths["/api/import/archive"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert upload["schema"]["required"] == ["file"]
