from __future__ import annotations

import json
import math
import re
import statistics
import time
from datetime import datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.export import build_report, html_pieces, markdown_pieces, open_run
from runicorn.export.overview import MetricOverview, MetricsOverview
from runicorn.export.report import Plot

NOW = datetime(2025, 1, 14, 15, 30, 45)
SCRIPT = "<script>alert('x')</script>"


@pytest.fixture
def run_dir(tmp_path):
    """A function that writes a run's files and returns its directory."""
    directory = tmp_path / "run"
    directory.mkdir()

    def write(*metrics: dict[str, object], **side_files: object):
        for name, value in side_files.items():
            (directory / f"{name}.json").write_text(json.dumps(value), "utf-8")
        if metrics:
            lines = (json.dumps({"ts": 1.0, "type": "metrics", "data": data}) + "\n" for data in metrics)
            (directory / "events.jsonl").write_text("".join(lines), "utf-8")
        return directory

    return write


def markdown(run_dir) -> str:
    return "".join(markdown_pieces(build_report(open_run(run_dir), now=NOW)))


def html(run_dir) -> str:
    return "".join(html_pieces(build_report(open_run(run_dir), now=NOW)))


def local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


class TestMarkdown:
    def test_the_whole_report(self, run_dir):
        directory = run_dir(
            {"loss": 2.0, "acc": None, "ok": True, "note": "a", "global_step": 1, "time": 1.0},
            {"loss": math.nan, "acc": 0.5, "ok": False, "global_step": 2, "time": 2.0},
            {"loss": 1.0, "step": 5},
            meta={
                "project": "vision",
                "name": "resnet",
                "id": "r1",
                "created_at": 1704067200.5,
                "platform": "Linux 6.1 (x86_64)",
                "python": "3.11.7",
            },
            status={"status": "finished", "started_at": 1704067200.0, "ended_at": 1704067212.34},
            summary={"best": 0.5, "tags": ["a|b", None], "none": None, "te|xt": "two\nlines"},
        )
        assert markdown(directory) == (
            "# Experiment Report\n\nGenerated: 2025-01-14 15:30:45\n"
            "\n## Experiment Information\n\n"
            "- **Project**: vision\n- **Experiment**: resnet\n- **Run ID**: r1\n"
            f"- **Created**: {local(1704067200)}\n- **Platform**: Linux 6.1 (x86_64)\n- **Python**: 3.11.7\n"
            "\n## Run Status\n\n- **Status**: finished\n"
            f"- **Started**: {local(1704067200)}\n- **Ended**: {local(1704067212)}\n- **Duration**: 12.34 seconds\n"
            "\n## Summary Metrics\n\n| Metric | Value |\n| --- | --- |\n| best | 0.5 |\n"
            "| tags | ['a\\|b', None] |\n| none | N/A |\n| te\\|xt | two lines |\n"
            "\n## Metrics Overview\n\nTotal events recorded: 3\n"
            "\n### Metric Statistics\n\n| Metric | Min | Max | Mean | Last |\n| --- | --- | --- | --- | --- |\n"
            "| loss | 1.000000 | 2.000000 | 1.500000 | 1.000000 |\n"
            "| ok | 0.000000 | 1.000000 | 0.500000 | 0.000000 |\n"
            "| acc | 0.500000 | 0.500000 | 0.500000 | 0.500000 |\n"
        )

    def test_sections_without_file_are_left_out(self, run_dir):
        assert markdown(run_dir()) == "# Experiment Report\n\nGenerated: 2025-01-14 15:30:45\n"
        assert re.findall("^## .*", markdown(run_dir(status={})), re.MULTILINE) == ["## Run Status"]

    def test_odd_values_are_not_available(self, run_dir):
        text = markdown(
            run_dir(
                meta={"project": None, "name": ["x"], "id": " ", "created_at": 1e300, "platform": {}, "python": True},
                status={"status": None, "started_at": "soon", "ended_at": 5.0},
            )
        )
        assert text.count(": N/A\n") == 9

    def test_a_metric_without_finite_values(self, run_dir):
        assert "| x | N/A | N/A | N/A | nan |" in markdown(run_dir({"x": math.inf}, {"x": math.nan}))
        assert "| x | N/A | N/A | N/A | inf |" in markdown(run_dir({"x": 10**400}))

    def test_an_empty_event_file_has_an_overview_without_table(self, run_dir):
        directory = run_dir()
        (directory / "events.jsonl").touch()
        assert markdown(directory).endswith("## Metrics Overview\n\nTotal events recorded: 0\n")

    @given(st.text(st.sampled_from("a|\\\n\r"), max_size=8))
    def test_a_cell_never_ends_its_cell(self, text):
        from runicorn.export.markdown import _cell

        cell = _cell(text)
        assert "\n" not in cell
        assert re.fullmatch(r"(\\.|[^|\\]|\\$)*", cell, re.DOTALL)  # as GitHub's tables read it: no bar of its own


class Outline(HTMLParser):
    """Tags and visible texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]

    def handle_data(self, data):
        self.texts.append(data)


class TestHtml:
    def test_everything_from_the_run_is_escaped(self, run_dir):
        directory = run_dir(
            {SCRIPT: 1.0},
            {SCRIPT: 2.0},
            meta=dict.fromkeys(("project", "name", "id", "platform", "python"), SCRIPT),
            status={"status": f'"><img src=x onerror=alert(1)>{SCRIPT}'},
            summary={SCRIPT: SCRIPT, "list": [SCRIPT], "best_metric_name": SCRIPT},
        )
        page = html(directory)
        outline = Outline(page)
        assert "<script" not in page.lower()
        assert not outline.tags & {"script", "img", "iframe", "object", "link"}
        assert outline.texts.count(SCRIPT) >= 4

    def test_says_what_markdown_says(self, run_dir):
        directory = run_dir(
            {"loss": 2.0, "global_step": 1},
            {"loss": 1.0, "global_step": 2},
            meta={"project": "vision"},
            status={"status": "finished"},
            summary={"best": 0.5},
        )
        texts = "".join(Outline(html(directory)).texts)
        for word in re.findall(r"[\w.]+", re.sub(r"[*#|\-]", " ", markdown(directory))):
            assert word in texts

    def test_draws_the_primary_metric_first(self, run_dir):
        directory = run_dir(
            {"loss": 2.0, "acc": 0.1, "once": 1}, {"loss": 1.0, "acc": 0.2}, summary={"best_metric_name": "acc"}
        )
        page = html(directory)
        assert page.count("<svg") == 2
        assert page.index("<figcaption>acc") < page.index("<figcaption>loss")

    def test_lone_surrogates_can_be_encoded(self, run_dir):
        directory = run_dir({"\ud800": 1}, {"\ud800": 2}, meta={"name": "\udfff"}, summary={"\ud800": "\ud800"})
        assert html(directory).encode()
        assert markdown(directory).encode()


class TestOverview:
    @given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=1))
    def test_statistics_are_over_finite_values(self, values):
        metric = MetricOverview("x")
        for index, value in enumerate(values):
            metric.add(index, value)
        metric.close()
        finite = [value for value in values if math.isfinite(value)]
        assert metric.count == len(finite)
        assert metric.min == min(finite, default=None)
        assert metric.max == max(finite, default=None)
        assert metric.last == values[-1] or math.isnan(values[-1])
        if finite:
            expected = statistics.fmean(value / len(finite) for value in finite) * len(finite)
            assert metric.mean == pytest.approx(expected, rel=1e-9, abs=1e-300)

    @pytest.mark.parametrize("count", [2, 4096, 4097, 100_000])
    def test_the_curve_keeps_extremes_and_order(self, count):
        overview = MetricsOverview(
            {"x": math.sin(i) if i != count // 3 else 9.0, "global_step": i} for i in range(count)
        )
        (metric,) = overview.metrics
        assert (overview.events, metric.count, metric.max) == (count, count, 9.0)
        assert metric.mean == pytest.approx(
            statistics.fmean(math.sin(i) if i != count // 3 else 9.0 for i in range(count))
        )
        curve = metric.curve
        assert 2 <= len(curve) <= 1024
        assert [x for x, _ in curve] == sorted(x for x, _ in curve)
        assert max(curve, key=lambda point: point[1]) == (count // 3, 9.0)
        assert curve[-1][0] >= count * 0.99 - 1

    def test_points_are_scaled_into_the_box(self):
        assert Plot("x", [(0, 0.0), (10, 5.0)]).scaled(100, 50, 5) == [(5, 45), (95, 5)]
        assert Plot("x", [(0, 2.0), (1, 2.0)]).scaled(100, 50, 5) == [(5, 25), (95, 25)]
        assert Plot("x", [(0, -1.7e308), (1, 1.7e308)]).scaled(100, 50, 5) == [(5, 45), (95, 5)]
