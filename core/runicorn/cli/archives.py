"""`runicorn export` and `runicorn import`: runs in an archive, and out of one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from runicorn.cli.group import Failure, storage_option
from runicorn.cli.json_output import print_json
from runicorn.cli.progress import progress_bar
from runicorn.cli.table import clean

if TYPE_CHECKING:
    from runicorn.archive import ArchiveFormat, Imported


class ExportReport(msgspec.Struct, frozen=True):
    """What `runicorn export --json` prints."""

    archive: str | None
    runs: int
    files: int
    size: int
    """Bytes of all files before they were packed."""
    not_importable: list[str]
    """Paths of runs, and of files and directories in others, whose names an import refuses."""


class ImportReport(msgspec.Struct, frozen=True):
    """What `runicorn import --json` prints."""

    imported_files: int
    new_runs: list[str]
    replaced_runs: list[str]
    skipped_runs: list[str]
    skipped_files: int
    dry_run: bool


@click.command("export")
@storage_option
@click.option("--project", metavar="PROJECT", help="Only runs of this project.")
@click.option("--name", metavar="NAME", help="Only runs of this experiment.")
@click.option("--run-id", "run_ids", metavar="ID", multiple=True, help="Only this run. Repeatable.")
@click.option("--out", metavar="PATH", help="The archive (default: runicorn_export_<time>.tar.gz).")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tar.gz", "zip", "tar.zst"]),
    help="Default: what the name given by --out says, else tar.gz.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def export_command(
    storage: str | None,
    project: str | None,
    name: str | None,
    run_ids: tuple[str, ...],
    out: str | None,
    kind: ArchiveFormat | None,
    as_json: bool,
) -> None:
    """Write runs to an archive, those in the recycle bin too, with their tags. Filters combine.

    Works with and without a server that runs. Artifacts are not part of it.

    \b
    Examples:
      runicorn export
      runicorn export --project vision --out vision.tar.zst
      runicorn export --run-id 20250114_153045_a1b2c3 --format zip
    """
    from runicorn.archive import choose_runs, export_runs
    from runicorn.config import state_directory, storage_root
    from runicorn.output_file import output_file

    root = storage_root(storage)
    runs = choose_runs(root, project=project, name=name, run_ids=run_ids)
    if not runs:
        if as_json:
            print_json(ExportReport(None, 0, 0, 0, []))
        else:
            click.echo("No runs matched the given filters. Nothing to export.")
        return
    chosen = kind or _format_of(out or "")
    path = Path(out or f"runicorn_export_{int(time.time())}.{chosen}")
    if not as_json:
        click.echo(f"Exporting {len(runs)} run(s) to {path} ...")
    try:
        with output_file(path) as file, progress_bar("Exporting", len(runs), in_bytes=False) as advance:
            done = export_runs(root, state_directory(root), runs, file, chosen, tick=lambda _: advance(1))
    except OSError as error:
        raise Failure(f"Export failed: {error.strerror or error}") from error
    if as_json:
        print_json(ExportReport(str(path), done.runs, done.files, done.size, done.not_importable))
        return
    for member in done.not_importable:
        click.echo(f"Note: an import leaves out {member!r}, because of its name.", err=True)
    click.echo("Done.")


@click.command("import")
@storage_option
@click.option("--archive", required=True, metavar="PATH", help="A zip or tar archive; tar also with gzip or zstandard.")
@click.option("--overwrite", is_flag=True, help="Replace runs that exist at the same place, as a whole.")
@click.option("--dry-run", is_flag=True, help="Read all of it and say what would be done, but write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def import_command(storage: str | None, archive: str, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Take the runs of an archive into the storage root. Runs that exist stay as they are.

    Works with and without a server that runs.

    \b
    Examples:
      runicorn import --archive vision.tar.gz
      runicorn import --archive vision.tar.gz --dry-run
    """
    from runicorn.archive import Limits, UnusableArchive, import_archive, staging_directory
    from runicorn.config import state_directory, storage_root
    from runicorn.errors import RunicornError
    from runicorn.files import open_to_read
    from runicorn.root import prepare

    root = storage_root(storage)
    state = state_directory(root)
    try:
        file = open_to_read(archive)
    except FileNotFoundError:
        raise Failure(f"Archive not found: {archive}") from None
    except OSError as error:
        raise Failure(f"Import failed: {error.strerror}") from None
    try:
        with file, progress_bar("Importing", None) as advance, contextlib.ExitStack() as stack:
            staging = None
            if not dry_run:
                prepare(root, state)
                staging = stack.enter_context(staging_directory(root))
            done = import_archive(
                root, state, file, staging, limits=Limits.configured(), overwrite=overwrite, tick=advance
            )
    except UnusableArchive as error:
        raise Failure(f"Import failed: {error.reason}") from error
    except RunicornError as error:
        raise Failure(f"Import failed: {error}") from error
    if as_json:
        report = ImportReport(done.files, done.runs, done.replaced, done.skipped_runs, done.skipped_files, dry_run)
        print_json(report)
        return
    _print(done, root, dry_run=dry_run)


def _format_of(name: str) -> ArchiveFormat:
    lower = name.lower()
    return "zip" if lower.endswith(".zip") else "tar.zst" if lower.endswith((".tar.zst", ".tzst")) else "tar.gz"


def _print(done: Imported, root: Path, *, dry_run: bool) -> None:
    click.echo(f"{'Would import' if dry_run else 'Imported'} {done.files} files into {root}")
    for key in done.replaced:
        click.echo(f"{'Would replace' if dry_run else 'Replaced'} run {clean(key)}")
    for run_id in done.skipped_runs:
        click.echo(f"Skipped run {clean(run_id)}: it exists already, or its place is taken")
    if done.skipped_files:
        click.echo(f"Skipped {done.skipped_files} files that belong to no run, or have names that are not safe")
