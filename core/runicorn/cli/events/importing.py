"""`runicorn events import`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click
import msgspec

from runicorn.cli.events.printing import counted
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json
from runicorn.cli.progress import progress_bar
from runicorn.cli.table import clean

_MOST_NAMED = 20


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@storage_option
@state_dir_option
@click.option("--dry-run", is_flag=True, help="Read all of it and say what would be done, but write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_events(file: Path, storage: str | None, state_dir: Path | None, dry_run: bool, as_json: bool) -> None:
    """Add a log that was exported to the log of a store, which may be empty.

    Nothing is overwritten: streams that are not there are made, those that hold the beginning grow, those that hold all of
    it stay. If one says something else, nothing is imported, the exit status is 1, and it is named.

    \b
    Examples:
      runicorn events import log.zst --storage /data/copy
      runicorn events import log.zst --dry-run
    """
    from runicorn.archive import Limits, UnusableArchive, staging_directory
    from runicorn.archive.log_importing import import_log
    from runicorn.config import state_directory, storage_root
    from runicorn.files import open_to_read
    from runicorn.root import prepare

    root = storage_root(storage)
    state = state_directory(root, state_dir)
    try:
        opened = open_to_read(file)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from None
    try:
        with opened, progress_bar("Importing", None) as advance, contextlib.ExitStack() as stack:
            staging = None
            if not dry_run:
                prepare(root, state)
                staging = stack.enter_context(staging_directory(root))
            done = import_log(root, state, opened, staging, limits=Limits.configured(), tick=advance)
    except UnusableArchive as error:
        raise click.ClickException(f"{file} cannot be imported: {error.reason}. Nothing was.") from error
    if as_json:
        print_json({**msgspec.structs.asdict(done), "dry_run": dry_run})
    else:
        _tell("These say something else here", done.conflicts)
        _tell("These are no names of streams", done.refused)
        if done.is_possible:
            click.echo(
                f"{'Would import' if dry_run else 'Imported'} {counted(len(done.new), 'new stream')} and the rest of"
                f" {len(done.grown)}, {counted(done.bytes, 'byte')}; already there: {len(done.same) + len(done.longer)}."
            )
        else:
            click.echo("Nothing was imported.")
    if not done.is_possible:
        sys.exit(1)


def _tell(what: str, names: list[str]) -> None:
    if names:
        more = f"\n  and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        listed = "\n  ".join(map(clean, names[:_MOST_NAMED]))
        click.echo(f"{what}:\n  {listed}{more}", err=True)
