"""Exporting one run from Python: metrics as CSV, Excel or TensorBoard file, and reports."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runicorn.events.log import StreamReplaced
from runicorn.export import ExportedRun, build_report, csv_pieces, html_pieces, markdown_pieces, open_run
from runicorn.export.excel import TooLargeForExcel, excel_bytes
from runicorn.export.pdf import pdf_bytes
from runicorn.export.tensorboard import write_tensorboard
from runicorn.output_file import write_output

logger = logging.getLogger("runicorn")

T = TypeVar("T")

PathLike = str | os.PathLike[str]

_FORMAT_OF_SUFFIX = {".pdf": "pdf", ".html": "html", ".htm": "html"}


class MetricsExporter:
    """Exports the run in the directory `run_dir`, as it is at each call.

    Results are truthy only if the file was written. A run without data, a missing optional library, or a file that
    cannot be written gives False (None for CSV) and a message in the log. Files are replaced atomically.
    """

    def __init__(self, run_dir: PathLike) -> None:
        self.run_dir = Path(run_dir)

    def to_csv(self, output_path: PathLike | None = None, include_metadata: bool = True) -> str | None:
        """The metrics as CSV text, also written to `output_path` if one is given; None without metrics.

        One row per metrics event in file order. `include_metadata` puts comment lines (`# …`) about the run on top.
        """

        def export() -> str | None:
            run = self._run_with_metrics()
            if run is None:
                return None
            text = "".join(csv_pieces(run.metrics, run.meta, comments=include_metadata))
            if output_path is not None:
                write_output(output_path, text.encode())
            return text

        return _attempt("CSV", export)

    def to_excel(self, output_path: PathLike, include_charts: bool = True) -> bool:
        """A workbook with the sheets `Metrics`, `Metadata`, `Statistics` and, if wanted, `Charts`; needs openpyxl."""

        def export() -> bool:
            run = self._run_with_metrics()
            if run is None:
                return False
            write_output(output_path, excel_bytes(run, charts=include_charts))
            return True

        return bool(_attempt("Excel", export, needs="openpyxl (pip install 'runicorn[excel]')"))

    def to_tensorboard(self, output_dir: PathLike) -> bool:
        """Scalars in a TensorBoard event file in the directory `output_dir`; needs torch and tensorboard."""

        def export() -> bool:
            run = self._run_with_metrics()
            if run is None:
                return False
            write_tensorboard(run, os.fspath(output_dir))
            return True

        return bool(_attempt("TensorBoard", export, needs="torch and tensorboard"))

    def generate_report(self, output_path: PathLike, format: str | None = None) -> bool:
        """A report on the run: its description, status, summary and the statistics of its metrics.

        `format` is `markdown`, `html` or `pdf` (needs reportlab); without it the file's suffix decides, and anything but
        `.html` and `.pdf` means Markdown.
        """
        kind = format or _FORMAT_OF_SUFFIX.get(Path(output_path).suffix.lower(), "markdown")
        if kind not in ("markdown", "html", "pdf"):
            logger.error("Report format must be markdown, html or pdf, got %r", kind)
            return False

        def export() -> bool:
            run = open_run(self.run_dir)
            if run.is_empty:
                logger.warning("No data to report in %s", self.run_dir)
                return False
            write_output(output_path, _report(run, kind))
            return True

        return bool(_attempt(f"{kind} report", export, needs="reportlab (pip install 'runicorn[pdf]')"))

    def _run_with_metrics(self) -> ExportedRun | None:
        run = open_run(self.run_dir)
        if any(run.metrics):  # an event without a single key has nothing to export, either
            return run
        logger.warning("No metrics to export in %s", self.run_dir)
        return None


def _report(run: ExportedRun, kind: str) -> bytes:
    report = build_report(run)
    if kind == "pdf":
        return pdf_bytes(report)
    return "".join(html_pieces(report) if kind == "html" else markdown_pieces(report)).encode()


def _attempt(what: str, export: Callable[[], T], needs: str = "") -> T | None:
    """What `export` returns; None after logging why it cannot be done."""
    try:
        return export()
    except ImportError as error:
        logger.warning("%s export needs %s: %s", what, needs, error)
    except (OSError, StreamReplaced, TooLargeForExcel) as error:
        logger.error("%s export failed: %s", what, error)
    return None
