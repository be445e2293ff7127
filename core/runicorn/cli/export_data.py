"""`runicorn export-data`: the metrics of one run, or a report on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.group import Failure, storage_option

if TYPE_CHECKING:
    from runicorn.events.discovery import RunDirectory

_FORMATS = ["csv", "excel", "markdown", "html", "pdf"]
_NEEDS = {"excel": "openpyxl (pip install 'runicorn[excel]')", "pdf": "reportlab (pip install 'runicorn[pdf]')"}


@click.command("export-data")
@storage_option
@click.option("--run-id", required=True, metavar="ID", help="The run; it may be in the recycle bin.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="csv", show_default=True)
@click.option(
    "--output", metavar="PATH", help="Default: standard output for csv, else <id>_metrics.xlsx, <id>_report.…."
)
def export_data(storage: str | None, run_id: str, kind: str, output: str | None) -> None:
    """Export the metrics of one run as CSV or Excel, or write a report on it.

    \b
    Examples:
      runicorn export-data --run-id 20250114_153045_a1b2c3 > metrics.csv
      runicorn export-data --run-id 20250114_153045_a1b2c3 --format html
    """
    from runicorn.config import storage_root
    from runicorn.events.log import StreamReplaced
    from runicorn.export.excel import TooLargeForExcel

    root = storage_root(storage)
    run = _find(root, run_id)
    try:
        if kind == "csv":
            _csv(root, run, output)
        else:
            _document(root, run, kind, output)
    except ImportError as error:
        raise Failure(f"Exporting {kind} needs {_NEEDS.get(kind, error)}") from error
    except BrokenPipeError:
        raise  # whoever read our output has enough: the group ends quietly
    except OSError as error:
        raise Failure(f"Export failed: {error.strerror or error}") from error
    except StreamReplaced as error:
        raise Failure("Export failed: the metrics were replaced meanwhile. Try again.") from error
    except TooLargeForExcel as error:
        raise Failure(f"Export failed: {error}") from error


def _find(root: Path, run_id: str) -> RunDirectory:
    """The run that an id means: one that is listed rather than one in the recycle bin, then the first in list order."""
    from runicorn.events.discovery import find_runs
    from runicorn.fields import number
    from runicorn.files import read_json_object
    from runicorn.run_files import DELETED_FILE, META_FILE

    def place(run: RunDirectory) -> tuple[bool, bool, str, str, float]:
        meta = read_json_object(root / run.key / META_FILE) or {}
        project, name = run.names(meta.get("project"), meta.get("name"))
        is_deleted = os.path.lexists(root / run.key / DELETED_FILE)
        created = number(meta.get("created_at")) or 0.0
        return is_deleted, run.project is None, (project or "").casefold(), (name or "").casefold(), -created

    found = sorted((run for run in find_runs(root) if run.run_id == run_id), key=place)
    if not found:
        raise Failure(f"Run {run_id} not found")
    return found[0]


def _csv(root: Path, place: RunDirectory, output: str | None) -> None:
    from runicorn.export import csv_pieces, open_run
    from runicorn.output_file import output_file

    run = open_run(root / place.key, place=place)
    pieces = csv_pieces(run.metrics, run.meta)
    first = next(pieces, None)
    if first is None:
        raise Failure("No metrics to export")
    if output is None:
        target = sys.stdout.buffer
        target.write(first.encode())
        for piece in pieces:
            target.write(piece.encode())
        target.flush()
        return
    with output_file(output) as file:
        file.write(first.encode())
        for piece in pieces:
            file.write(piece.encode())
    click.echo(f"Exported to {output}")


def _document(root: Path, place: RunDirectory, kind: str, output: str | None) -> None:
    from runicorn.export import build_report, html_pieces, markdown_pieces, open_run
    from runicorn.export.excel import excel_bytes
    from runicorn.export.pdf import pdf_bytes
    from runicorn.output_file import write_output

    run = open_run(root / place.key, place=place)
    if kind == "excel":
        if not any(run.metrics):
            raise Failure("No metrics to export")
        path = output or f"{place.run_id}_metrics.xlsx"
        write_output(path, excel_bytes(run, charts=True))
        click.echo(f"Exported to {path}")
        return
    report = build_report(run)
    path = output or f"{place.run_id}_report.{kind}"
    if kind == "pdf":
        write_output(path, pdf_bytes(report))
    else:
        write_output(path, "".join(html_pieces(report) if kind == "html" else markdown_pieces(report)).encode())
    click.echo(f"Report generated: {path}")
