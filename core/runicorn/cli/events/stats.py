"""`runicorn events stats`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from runicorn.cli.events.opening import is_chosen, open_log
from runicorn.cli.events.printing import clock, counted
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json
from runicorn.cli.progress import progress_bar
from runicorn.cli.table import clean


@click.command()
@storage_option
@state_dir_option
@click.option("--run", "runs", multiple=True, help="Only this run: its id, or its path below the root. Repeatable.")
@click.option(
    "-n",
    "--largest",
    default=10,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many of the largest streams.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(storage: str | None, state_dir: Path | None, runs: tuple[str, ...], largest: int, as_json: bool) -> None:
    """Count what the log holds: events and bytes by type, rates, and the largest streams.

    \b
    Examples:
      runicorn events stats
      runicorn events stats --run 20250114_153045_a1b2c3
      runicorn events stats --json
    """
    from runicorn.events.statistics import count

    log = open_log(storage, state_dir)
    streams = [stream for stream in log.streams() if is_chosen(stream.name, runs)]
    if runs and not streams:
        raise click.ClickException(f"No events of {', '.join(runs)} in {log.root}")
    total = sum(position.size for stream in streams if (position := log.position(stream)) is not None)
    started = time.monotonic()
    with progress_bar("Counting", total) as advance:
        found = count(log, streams, largest, advance)
    if as_json:
        print_json(found)
        return
    lines = (
        f"{counted(found.bad, 'line')} that {'is' if found.bad == 1 else 'are'} no event{'' if found.bad == 1 else 's'}"
    )
    sizes = (counted(found.streams, "stream"), counted(found.events, "event"), counted(found.bytes, "byte"), lines)
    click.echo(", ".join(sizes))
    if found.first is not None and found.last is not None:
        click.echo(f"from {clock(found.first)} to {clock(found.last)}: {found.events_per_day:.0f} events a day")
    for heading, rows in (("by type", found.types), ("largest streams", found.largest)):
        click.echo(f"\n{heading}")
        for row in rows:
            click.echo(f"{row.events:>12} events  {row.bytes:>14} bytes  {clean(row.name)}")
    click.echo(f"Counted in {time.monotonic() - started:.1f} s.", err=True)
