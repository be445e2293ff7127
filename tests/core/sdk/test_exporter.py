from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import zipfile

import pytest

from runicorn.sdk.exporter import MetricsExporter


@pytest.fixture
def run_dir(tmp_path):
    """A run with three events and all side files."""
    directory = tmp_path / "runs" / "20250114_153045_a1b2c3"
    directory.mkdir(parents=True)
    write_metrics(
        directory,
        {"loss": 2.0, "note": "=cmd()", "global_step": 1, "time": 1704067200.0},
        {"loss": math.nan, "big": 10**25, "global_step": 2, "time": 1704067201.0, "stage": "bad\x00\x1btext"},
        {"loss": 1.0, "list": [1, 2], "flag": True, "global_step": 3, "time": 1704067202.0},
    )
    (directory / "meta.json").write_text(json.dumps({"project": "视觉", "name": "<b>resnet</b>", "id": directory.name}))
    (directory / "status.json").write_text(json.dumps({"status": "finished", "started_at": 1.0, "ended_at": 2.0}))
    (directory / "summary.json").write_text(json.dumps({"best": 0.5, "formula": "=1+1"}))
    return directory


def write_metrics(directory, *metrics: dict[str, object]) -> None:
    lines = (json.dumps({"ts": 1.0, "type": "metrics", "data": data}) + "\n" for data in metrics)
    (directory / "events.jsonl").write_text("".join(lines))


class TestCsv:
    def test_is_returned_and_written(self, run_dir, tmp_path):
        text = MetricsExporter(str(run_dir)).to_csv(tmp_path / "out.csv")
        assert text is not None
        assert (tmp_path / "out.csv").read_bytes().decode() == text
        assert text.splitlines()[1:4] == ["# Project: 视觉", "# Experiment: <b>resnet</b>", f"# Run ID: {run_dir.name}"]

    def test_without_metadata_begins_with_the_header(self, run_dir):
        text = MetricsExporter(run_dir).to_csv(include_metadata=False)
        assert text is not None
        assert text.startswith("global_step,time,stage,big,flag,list,loss,note\r\n1,1704067200.0,,,,,2.0,'=cmd()\r\n")

    def test_of_a_run_without_metrics_is_none_and_no_file(self, tmp_path, caplog):
        assert MetricsExporter(tmp_path).to_csv(tmp_path / "out.csv") is None
        assert "No metrics to export" in caplog.text
        assert not (tmp_path / "out.csv").exists()

    def test_that_cannot_be_written_is_none(self, run_dir, tmp_path, caplog):
        assert MetricsExporter(run_dir).to_csv(tmp_path / "missing" / "out.csv") is None
        assert "CSV export failed" in caplog.text


class TestExcel:
    def test_has_four_sheets_and_no_formulas(self, run_dir, tmp_path):
        openpyxl = pytest.importorskip("openpyxl")
        assert MetricsExporter(run_dir).to_excel(tmp_path / "out.xlsx") is True
        book = openpyxl.load_workbook(tmp_path / "out.xlsx")
        assert book.sheetnames == ["Metrics", "Metadata", "Statistics", "Charts"]
        header, *rows = book["Metrics"].iter_rows(values_only=True)
        assert header == ("global_step", "time", "stage", "big", "flag", "list", "loss", "note")
        assert rows == [
            (1, 1704067200, None, None, None, None, 2, "'=cmd()"),
            (2, 1704067201, "badtext", str(10**25), None, None, "nan", None),
            (3, 1704067202, None, None, True, "[1, 2]", 1, None),
        ]
        assert ("summary", "formula", "'=1+1") in list(book["Metadata"].values)
        assert ("loss", 2, 1, 2, 1.5, 1) in list(book["Statistics"].values)
        assert not [c for sheet in book for row in sheet.iter_rows() for c in row if c.data_type == "f"]

    def test_charts_are_optional(self, run_dir, tmp_path):
        pytest.importorskip("openpyxl")
        assert MetricsExporter(run_dir).to_excel(str(tmp_path / "out.xlsx"), include_charts=False) is True
        names = zipfile.ZipFile(tmp_path / "out.xlsx").namelist()
        assert "xl/worksheets/sheet3.xml" in names
        assert "xl/worksheets/sheet4.xml" not in names
        assert MetricsExporter(run_dir).to_excel(str(tmp_path / "charts.xlsx")) is True
        assert "xl/charts/chart1.xml" in zipfile.ZipFile(tmp_path / "charts.xlsx").namelist()

    def test_more_metrics_than_columns_are_refused(self, run_dir, tmp_path, caplog):
        pytest.importorskip("openpyxl")
        write_metrics(run_dir, {f"metric{index}": index for index in range(16_385)})
        assert MetricsExporter(run_dir).to_excel(tmp_path / "out.xlsx") is False
        assert "do not fit into a worksheet" in caplog.text
        assert not (tmp_path / "out.xlsx").exists()

    def test_without_metrics_nothing_is_written(self, tmp_path):
        assert MetricsExporter(tmp_path).to_excel(tmp_path / "out.xlsx") is False
        assert list(tmp_path.iterdir()) == []


class TestReports:
    def test_the_format_is_given_or_that_of_the_file(self, run_dir, tmp_path):
        exporter = MetricsExporter(run_dir)
        for name, format, start in [
            ("a.md", None, "# Experiment Report"),
            ("b.html", None, "<!DOCTYPE html>"),
            ("c.html", "markdown", "# Experiment Report"),
            ("d", "html", "<!DOCTYPE html>"),
        ]:
            assert exporter.generate_report(tmp_path / name, format) is True
            assert (tmp_path / name).read_text("utf-8").startswith(start)

    def test_pdf_is_a_real_one(self, run_dir, tmp_path):
        pytest.importorskip("reportlab")
        assert MetricsExporter(run_dir).generate_report(tmp_path / "report.pdf", format="pdf") is True
        content = (tmp_path / "report.pdf").read_bytes()
        assert content.startswith(b"%PDF-")
        assert content.rstrip().endswith(b"%%EOF")

    def test_pdf_survives_hostile_texts(self, run_dir, tmp_path):
        pytest.importorskip("reportlab")
        nasty = "<b>&amp;</i> \x00 \ud800 😀 视觉 " + "x" * 50_000
        (run_dir / "summary.json").write_text(json.dumps({nasty: nasty, "rows": [nasty] * 10}))
        write_metrics(run_dir, {nasty: 1e308}, {nasty: -1e308}, {nasty: 5})
        assert MetricsExporter(run_dir).generate_report(tmp_path / "report.pdf") is True

    def test_an_unknown_format_writes_nothing(self, run_dir, tmp_path, caplog):
        assert MetricsExporter(run_dir).generate_report(tmp_path / "report.doc", format="doc") is False
        assert "must be markdown, html or pdf" in caplog.text
        assert not (tmp_path / "report.doc").exists()

    def test_of_nothing_writes_nothing(self, tmp_path, caplog):
        assert MetricsExporter(tmp_path / "missing").generate_report(tmp_path / "report.md") is False
        assert "No data to report" in caplog.text
        assert list(tmp_path.iterdir()) == []


class TestTensorBoard:
    def test_every_number_becomes_a_scalar(self, run_dir, tmp_path):
        module = (
            tmp_path / "site" / "torch" / "utils" / "tensorboard.py"
        )  # stands in for torch, which is too large here
        module.parent.mkdir(parents=True)
        module.write_text(
            "class SummaryWriter:\n"
            "    def __init__(self, log_dir): print(log_dir)\n"
            "    def add_scalar(self, key, value, step, walltime): print(key, value, step, walltime)\n"
            "    def close(self): print('closed')\n"
        )
        script = (
            f"from runicorn.sdk.exporter import MetricsExporter as E; print(E({str(run_dir)!r}).to_tensorboard('tb'))"
        )
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        )
        assert done.stdout.splitlines() == [
            "tb",
            "loss 2.0 1 1704067200.0",
            "loss nan 2 1704067201.0",
            "big 1e+25 2 1704067201.0",
            "loss 1.0 3 1704067202.0",
            "flag 1.0 3 1704067202.0",
            "closed",
            "True",
        ]


class TestMissingLibraries:
    @pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
    def test_tensorboard_needs_torch(self, run_dir, tmp_path, caplog):
        assert MetricsExporter(run_dir).to_tensorboard(tmp_path / "tb") is False
        assert "torch" in caplog.text
        assert not (tmp_path / "tb").exists()

    def test_exports_without_their_library_say_what_they_need(self, run_dir, tmp_path):
        script = (
            "import sys, logging; logging.basicConfig(format='%(message)s')\n"
            "sys.modules['openpyxl'] = sys.modules['reportlab'] = None\n"
            "from runicorn.sdk.exporter import MetricsExporter as E\n"
            f"e = E({str(run_dir)!r}); out = {str(tmp_path / 'out')!r}\n"
            "print(e.to_excel(out), e.generate_report(out, 'pdf'), e.generate_report(out, 'html'))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "False False True\n"
        assert "runicorn[excel]" in done.stderr
        assert "runicorn[pdf]" in done.stderr

    def test_importing_the_exporter_imports_no_library(self):
        script = (
            "import sys, runicorn.sdk.exporter\n"
            "print({'openpyxl', 'reportlab', 'pandas', 'torch', 'numpy', 'litestar', 'asyncio'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"
