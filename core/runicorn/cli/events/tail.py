"""`runicorn events tail`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.opening import is_chosen, of_types, open_log
from runicorn.cli.events.printing import counted, json_option, print_events
from runicorn.cli.group import state_dir_option, storage_option

if TYPE_CHECKING:
    from runicorn.events.log import LocatedEvent, Stream

_LINES = 20


@click.command()
@storage_option
@state_dir_option
@click.option("--run", "runs", multiple=True, help="Only this run: its id, or its path below the root. Repeatable.")
@click.option("--type", "types", multiple=True, help="Only this event type, such as run.finished. Repeatable.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    help="How many to begin with, the last ones. [default: 20; with --since all]",
)
@click.option("--since", metavar="TIME", help="Events from this time on: ISO 8601, or how long ago, such as 10m.")
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they are appended, until Ctrl-C.")
@json_option
def tail(
    storage: str | None,
    state_dir: Path | None,
    runs: tuple[str, ...],
    types: tuple[str, ...],
    count: int | None,
    since: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the last events of a store, by time, and follow it.

    \b
    Examples:
      runicorn events tail
      runicorn events tail --follow --type run.created --type run.finished
      runicorn events tail --since 10m
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

    ends = tailing.ends_of(log, streams)
    if start is None:
        print_events(tailing.last_events(log, ends, _LINES if count is None else count, wanted), as_json)
    else:
        _print_since(filter(is_of_type, tailing.events_since(log, ends, start)), count, as_json)
    if follow:
        try:
            print_events((event for event in tailing.follow(log, ends, choose) if wanted(event)), as_json)
        except KeyboardInterrupt:
            return


def _print_since(events: Iterable[LocatedEvent], count: int | None, as_json: bool) -> None:
    """All of them as they are read; or the last `count`, and how many there were before those."""
    if count is None:
        print_events(events, as_json)
        return
    last: deque[LocatedEvent] = deque(maxlen=count)
    total = 0
    for event in events:
        total += 1
        last.append(event)
    print_events(last, as_json)
    if total > count:
        left_out = f"{counted(total - count, 'earlier event')} since then"
        click.echo(f"Left out: {left_out}. Without -n all are shown.", err=True)
