"""`runicorn events tail`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.opening import is_chosen, of_types, open_log
from runicorn.cli.events.printing import json_option, print_events
from runicorn.cli.group import state_dir_option, storage_option

if TYPE_CHECKING:
    from runicorn.events.log import LocatedEvent, Stream


@click.command()
@storage_option
@state_dir_option
@click.option("--run", "runs", multiple=True, help="Only this run: its id, or its path below the root. Repeatable.")
@click.option("--type", "types", multiple=True, help="Only this event type, such as run.finished. Repeatable.")
@click.option(
    "-n", "--lines", "count", default=20, show_default=True, type=click.IntRange(min=0), help="How many to begin with."
)
@click.option("--since", metavar="TIME", help="Only events after this time: ISO 8601, or how long ago, such as 10m.")
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they are appended, until Ctrl-C.")
@json_option
def tail(
    storage: str | None,
    state_dir: Path | None,
    runs: tuple[str, ...],
    types: tuple[str, ...],
    count: int,
    since: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the last events of a store, by time, and follow it.

    \b
    Examples:
      runicorn events tail
      runicorn events tail --follow --type run.created --type run.finished
      runicorn events tail --since 10m -n 1000
      runicorn events tail --run 20250114_153045_a1b2c3 --json
    """
    from runicorn.events import tail as tailing
    from runicorn.moments import parse_moment

    log = open_log(storage, state_dir)

    def choose() -> list[Stream]:
        return [stream for stream in log.streams() if is_chosen(stream.name, runs)]

    streams = choose()
    if runs and not streams and not follow:
        raise click.ClickException(f"No events of {', '.join(runs)} in {log.root}")
    is_of_type = of_types(types)
    start = None if since is None else parse_moment(since, time.time())

    def wanted(event: LocatedEvent) -> bool:
        return is_of_type(event) and (start is None or event.event.ts >= start)

    # With a filter, more than `count` events have to be looked at.
    ends = tailing.ends_of(log, streams)
    shown = [event for event in tailing.last_events(log, ends, count * 50 if types else count) if wanted(event)]
    print_events(shown[-count:] if count else [], as_json)
    if follow:
        try:
            print_events((event for event in tailing.follow(log, ends, choose) if wanted(event)), as_json)
        except KeyboardInterrupt:
            return
