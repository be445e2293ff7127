"""A run as an Excel workbook, with openpyxl (extra `excel`)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from typing import Any

from runicorn.export.csv import metric_columns
from runicorn.export.overview import MetricsOverview
from runicorn.export.run import ExportedRun
from runicorn.export.text import formula_safe
from runicorn.fields import without_surrogates

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
"""Limits of a worksheet, header included."""

_MAX_TEXT = 32_767
_MAX_EXACT = 1 << 53
_MAX_CHARTS = 12
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML 1.0 has no way to write them


class TooLargeForExcel(ValueError):
    """The run has more metrics events or metrics than a worksheet can hold."""


def excel_bytes(run: ExportedRun, *, charts: bool = True) -> bytes:
    """The workbook: sheets `Metrics`, `Metadata`, `Statistics` and, with `charts`, `Charts`.

    ImportError without openpyxl; TooLargeForExcel.
    """
    import openpyxl  # pyright: ignore
    from openpyxl.chart import LineChart, Reference  # pyright: ignore

    columns = metric_columns(run.metrics)
    overview = MetricsOverview(run.metrics)
    if overview.events >= MAX_ROWS or len(columns) > MAX_COLUMNS:
        raise TooLargeForExcel(f"{overview.events} events with {len(columns)} columns do not fit into a worksheet")

    book: Any = openpyxl.Workbook(write_only=True)
    metrics = book.create_sheet("Metrics")
    metrics.append(_row(columns))
    for data in run.metrics:
        metrics.append(_row(data.get(key) for key in columns))

    metadata = book.create_sheet("Metadata")
    metadata.append(["Section", "Key", "Value"])
    for section, values in ("meta", run.meta), ("status", run.status), ("summary", run.summary):
        for key, value in (values or {}).items():
            metadata.append(_row((section, key, value)))

    statistics = book.create_sheet("Statistics")
    statistics.append(["Metric", "Count", "Min", "Max", "Mean", "Last"])
    for metric in overview.metrics:
        statistics.append(_row((metric.name, metric.count, metric.min, metric.max, metric.mean, metric.last)))

    if charts:
        sheet = book.create_sheet("Charts")
        for index, metric in enumerate(overview.metrics[:_MAX_CHARTS]):
            column = columns.index(metric.name) + 1
            chart: Any = LineChart()
            chart.title = _cell(metric.name)
            chart.legend = None
            chart.add_data(Reference(metrics, min_col=column, min_row=2, max_row=overview.events + 1))
            if columns[0] == "global_step":
                chart.set_categories(Reference(metrics, min_col=1, min_row=2, max_row=overview.events + 1))
            sheet.add_chart(chart, f"{'AJ'[index % 2]}{1 + index // 2 * 16}")
    output = io.BytesIO()
    book.save(output)
    return output.getvalue()


def _row(values: Iterable[Any]) -> list[Any]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> Any:
    """A value that openpyxl writes as it is: what Excel cannot hold becomes text, and no text becomes a formula."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and -_MAX_EXACT <= value <= _MAX_EXACT:
        return value
    text = _ILLEGAL.sub("", without_surrogates(str(value)))
    return (formula_safe(text) if isinstance(value, str) else text)[:_MAX_TEXT]
