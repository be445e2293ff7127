"""A report in Markdown (tables as GitHub has them)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from runicorn.export.report import TITLE, Facts, Report, Table
from runicorn.export.text import one_line


def markdown_pieces(report: Report) -> Iterator[str]:
    """The report's text, section by section. Plots are left out."""
    yield f"# {TITLE}\n\nGenerated: {report.generated}\n"
    for section in report.sections:
        yield f"\n## {section.title}\n\n"
        yield _facts(section) if isinstance(section, Facts) else _table(section)
    if report.events is not None:
        yield f"\n## Metrics Overview\n\nTotal events recorded: {report.events}\n"
        if report.statistics is not None:
            yield f"\n### {report.statistics.title}\n\n{_table(report.statistics)}"


def _facts(section: Facts) -> str:
    return "".join(f"- **{label}**: {value}\n" for label, value in section.facts)


def _table(table: Table) -> str:
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    return "".join(map(_row, rows))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(text: str) -> str:
    # Backslashes right before a bar would otherwise escape our escape.
    return re.sub(r"(\\*)\|", r"\1\1\\|", one_line(text))
