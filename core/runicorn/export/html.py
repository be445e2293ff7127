"""A report as one HTML page without scripts and without anything to load; metrics are drawn as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from runicorn.export.report import TITLE, Facts, Plot, Report, Table

_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{TITLE}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; overflow-wrap: anywhere }}
.plots {{ display: flex; flex-wrap: wrap; gap: 1rem }}
figure {{ margin: 0 }}
svg {{ background: #fafafa; border: 1px solid #ddd }}
</style>
</head>
<body>
"""
_WIDTH, _HEIGHT, _MARGIN = 440, 160, 8


def html_pieces(report: Report) -> Iterator[str]:
    """The page, section by section. Everything that comes from the run is escaped."""
    yield f"{_HEAD}<h1>{TITLE}</h1>\n<p>Generated: {escape(report.generated)}</p>\n"
    for section in report.sections:
        yield f"<h2>{escape(section.title)}</h2>\n"
        yield _facts(section) if isinstance(section, Facts) else _table(section)
    if report.events is not None:
        yield f"<h2>Metrics Overview</h2>\n<p>Total events recorded: {report.events}</p>\n"
        if report.statistics is not None:
            yield f"<h3>{escape(report.statistics.title)}</h3>\n{_table(report.statistics)}"
        if report.plots:
            yield '<h3>Plots</h3>\n<div class="plots">\n'
            yield from map(_plot, report.plots)
            yield "</div>\n"
    yield "</body>\n</html>\n"


def _facts(section: Facts) -> str:
    items = (f"<li><strong>{escape(label)}</strong>: {escape(value)}</li>\n" for label, value in section.facts)
    return f"<ul>\n{''.join(items)}</ul>\n"


def _table(table: Table) -> str:
    rows = "".join(_row(row, "td") for row in table.rows)
    return f"<table>\n<thead>\n{_row(table.header, 'th')}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _plot(plot: Plot) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in plot.scaled(_WIDTH, _HEIGHT, _MARGIN))
    low, high = min(y for _, y in plot.points), max(y for _, y in plot.points)
    first, last = min(x for x, _ in plot.points), max(x for x, _ in plot.points)
    return (
        f"<figure>\n<figcaption>{escape(plot.title)}: {low:.6g} … {high:.6g} over {first:.6g} … {last:.6g}</figcaption>\n"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f'<polyline fill="none" stroke="#2563eb" stroke-width="1.5" points="{points}"/></svg>\n</figure>\n'
    )
