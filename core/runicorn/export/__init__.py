"""One run in formats for other programs and for people: CSV, Excel, TensorBoard, reports in Markdown, HTML and PDF.

`open_run` reads a run directory; every format is a function of the result. Text formats are generated in pieces, so that
a server can stream them; nothing is kept on disk.
"""

from runicorn.export.csv import csv_pieces
from runicorn.export.html import html_pieces
from runicorn.export.markdown import markdown_pieces
from runicorn.export.report import Report, build_report
from runicorn.export.run import ExportedRun, LoggedMetrics, open_run

__all__ = [
    "ExportedRun",
    "LoggedMetrics",
    "Report",
    "build_report",
    "csv_pieces",
    "html_pieces",
    "markdown_pieces",
    "open_run",
]
