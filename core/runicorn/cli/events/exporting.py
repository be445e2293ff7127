"""`runicorn events export`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runicorn.cli.events.opening import open_log
from runicorn.cli.events.printing import counted
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@storage_option
@state_dir_option
@click.option("--run", "runs", multiple=True, help="Only the stream of this run: its id, or its path. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_events(
    file: Path, storage: str | None, state_dir: Path | None, runs: tuple[str, ...], as_json: bool
) -> None:
    """Write the log to one file: the streams of all runs and artifacts, and what was decided about them.

    The log alone: files of runs and artifacts are not part of it (`runicorn export` takes runs with theirs). Works while a
    server and trainers run. With --run, the store stream, which speaks of all runs, is left out.

    \b
    Examples:
      runicorn events export log.zst
      runicorn events export two.zst --run 20250114_153045_a1b2c3 --run 20250114_160000_d4e5f6
    """
    from runicorn.archive.log_exporting import export_log, streams_to_export
    from runicorn.files import replacing_file

    log = open_log(storage, state_dir)
    if file.exists():
        raise click.ClickException(f"{file} exists already")
    streams = streams_to_export(log, runs)
    if not streams:
        raise click.ClickException(f"No events of {', '.join(runs) or 'any run'} in {log.root}")
    total = sum(position.size for stream in streams if (position := log.position(stream)) is not None)
    try:
        with replacing_file(file) as target, progress_bar("Exporting", total) as advance:
            done = export_log(log, streams, target, advance)
        packed = file.stat().st_size
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    if as_json:
        report = {
            "file": str(file),
            "streams": done.streams,
            "bytes": done.bytes,
            "packed_bytes": packed,
            "not_importable": done.not_importable,
        }
        click.echo(json.dumps(report))
        return
    for name in done.not_importable:
        click.echo(f"Note: an import refuses {name!r}, because of its name.", err=True)
    size = f"{counted(done.streams, 'stream')}, {counted(done.bytes, 'byte')}"
    click.echo(f"Exported {size}, to {file} ({counted(packed, 'byte')})")
