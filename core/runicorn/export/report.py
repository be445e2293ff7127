"""What a report on one run says, before it has a format.

Markdown, HTML and PDF show the same texts in the same order; each part is there only if the run has its file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from runicorn.export.overview import MetricOverview, MetricsOverview
from runicorn.export.run import ExportedRun
from runicorn.export.text import MISSING, shown_field, shown_number, shown_time, shown_value
from runicorn.fields import number, without_surrogates

TITLE = "Experiment Report"
STATISTICS_TITLE = "Metric Statistics"

_MAX_PLOTS = 12


class Facts(msgspec.Struct, frozen=True):
    """A section of labelled values."""

    title: str
    facts: list[tuple[str, str]]


class Table(msgspec.Struct, frozen=True):
    """A section that is one table; every row has as many cells as `header`."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Plot(msgspec.Struct, frozen=True):
    """The curve of one metric over its steps: at least two finite points, in logged order."""

    title: str
    points: list[tuple[float, float]]

    def scaled(self, width: float, height: float, margin: float) -> list[tuple[float, float]]:
        """The points in a box whose origin is top left; a series without extent lies in the middle."""
        xs, ys = zip(*self.points, strict=True)
        return list(
            zip(
                (margin + part * (width - 2 * margin) for part in _fractions(xs)),
                (height - margin - part * (height - 2 * margin) for part in _fractions(ys)),
                strict=True,
            )
        )


class Report(msgspec.Struct, frozen=True):
    """The parts of a report. All texts are as the run has them: each format escapes them itself."""

    generated: str
    sections: list[Facts | Table]
    events: int | None
    """Number of metrics events; None if the run has no event file."""
    statistics: Table | None
    plots: list[Plot]


def build_report(run: ExportedRun, *, now: datetime | None = None) -> Report:
    """Read everything that a report needs: one pass over the metrics."""
    sections: list[Facts | Table] = []
    if run.meta is not None:
        sections.append(Facts("Experiment Information", _information(run.meta)))
    if run.status is not None:
        sections.append(Facts("Run Status", _status(run.status)))
    if run.summary is not None:
        rows = [(without_surrogates(key), shown_value(value)) for key, value in run.summary.items()]
        sections.append(Table("Summary Metrics", ("Metric", "Value"), rows))
    overview = MetricsOverview(run.metrics)
    return Report(
        generated=(now or datetime.now()).strftime("%Y-%m-%d %H:%M:%S"),
        sections=sections,
        events=overview.events if run.metrics.exists else None,
        statistics=_statistics(overview.metrics) if overview.metrics else None,
        plots=_plots(overview.metrics, (run.summary or {}).get("best_metric_name")),
    )


def _fractions(values: Sequence[float]) -> list[float]:
    """Where each value lies between the smallest (0) and the largest (1)."""
    low = min(values) / 2  # halves, as the difference of two finite numbers may overflow
    extent = max(values) / 2 - low
    return [(value / 2 - low) / extent if extent > 0 else 0.5 for value in values]


def _information(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Project", shown_field(meta.get("project"))),
        ("Experiment", shown_field(meta.get("name"))),
        ("Run ID", shown_field(meta.get("id"))),
        ("Created", shown_time(meta.get("created_at"))),
        ("Platform", shown_field(meta.get("platform"))),
        ("Python", shown_field(meta.get("python"))),
    ]


def _status(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    started, ended = number(status.get("started_at")), number(status.get("ended_at"))
    return [
        ("Status", shown_field(status.get("status"))),
        ("Started", shown_time(started)),
        ("Ended", shown_time(ended)),
        ("Duration", MISSING if started is None or ended is None else f"{ended - started:.2f} seconds"),
    ]


def _statistics(metrics: list[MetricOverview]) -> Table:
    rows: list[tuple[str, ...]] = [
        (without_surrogates(metric.name), *map(shown_number, (metric.min, metric.max, metric.mean, metric.last)))
        for metric in metrics
    ]
    return Table(STATISTICS_TITLE, ("Metric", "Min", "Max", "Mean", "Last"), rows)


def _plots(metrics: list[MetricOverview], primary: object) -> list[Plot]:
    """The primary metric first, then the others in first-seen order."""
    drawable = [metric for metric in metrics if metric.count >= 2]
    drawable.sort(key=lambda metric: metric.name != primary)
    return [Plot(without_surrogates(metric.name), metric.curve) for metric in drawable[:_MAX_PLOTS]]
