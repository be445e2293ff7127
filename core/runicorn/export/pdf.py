"""A report as a PDF document, with reportlab (extra `pdf`)."""

from __future__ import annotations

import io
from html import escape
from typing import Any

from runicorn.export.report import TITLE, Facts, Plot, Report, Table

_MAX_CELL = 500  # a table row must fit on one page
_WIDTH, _HEIGHT, _MARGIN = 440, 110, 4  # points; A4 with the default margins is 451 wide


def pdf_bytes(report: Report) -> bytes:
    """The document. ImportError without reportlab."""
    from reportlab.lib import colors  # pyright: ignore
    from reportlab.lib.pagesizes import A4  # pyright: ignore
    from reportlab.lib.styles import getSampleStyleSheet  # pyright: ignore
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer  # pyright: ignore
    from reportlab.platypus import Table as Grid  # pyright: ignore

    styles: Any = getSampleStyleSheet()

    def text(content: str, style: str = "BodyText", bold: bool = False) -> Any:
        shortened = content if len(content) <= _MAX_CELL else content[: _MAX_CELL - 1] + "…"
        markup = _markup(shortened)
        return Paragraph(f"<b>{markup}</b>" if bold else markup, styles[style])

    def grid(table: Table) -> Any:
        cells = [
            [text(cell, bold=True) for cell in table.header],
            *([text(cell) for cell in row] for row in table.rows),
        ]
        # Given widths: reportlab's own give a wide cell everything.
        widths = [0.35 * _WIDTH, *[0.65 * _WIDTH / (len(table.header) - 1)] * (len(table.header) - 1)]
        return Grid(
            cells, widths, repeatRows=1, hAlign="LEFT", style=[("GRID", (0, 0), (-1, -1), 0.5, colors.lightgrey)]
        )

    story: list[Any] = [text(TITLE, "Title"), text(f"Generated: {report.generated}")]
    for section in report.sections:
        story.append(text(section.title, "Heading2"))
        if isinstance(section, Facts):
            story += [text(f"{label}: {value}") for label, value in section.facts]
        else:
            story.append(grid(section))
    if report.events is not None:
        story += [text("Metrics Overview", "Heading2"), text(f"Total events recorded: {report.events}")]
        if report.statistics is not None:
            story += [text(report.statistics.title, "Heading3"), grid(report.statistics)]
        for plot in report.plots:
            story += [Spacer(1, 8), text(plot.title), _drawing(plot)]
    output = io.BytesIO()
    SimpleDocTemplate(output, pagesize=A4, title=TITLE).build(story)
    return output.getvalue()


def _markup(text: str) -> str:
    """Escaped text; what the standard fonts lack is set in a Chinese font, which PDF viewers bring along."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    try:
        printable.encode("cp1252")
    except UnicodeEncodeError:
        _register_wide_font()
        return f'<font name="{_WIDE_FONT}">{escape(printable)}</font>'
    return escape(printable)


_WIDE_FONT = "STSong-Light"


def _register_wide_font() -> None:
    from reportlab.pdfbase import pdfmetrics  # pyright: ignore
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont  # pyright: ignore

    if _WIDE_FONT not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont(_WIDE_FONT))


def _drawing(plot: Plot) -> Any:
    from reportlab.graphics.shapes import Drawing, PolyLine  # pyright: ignore

    drawing: Any = Drawing(_WIDTH, _HEIGHT)
    # PDF counts from the bottom, a plot from the top.
    points: Any = [(x, _HEIGHT - y) for x, y in plot.scaled(_WIDTH, _HEIGHT, _MARGIN)]
    drawing.add(PolyLine(points))
    return drawing
