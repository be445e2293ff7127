"""`runicorn events show`."""

from __future__ import annotations

from pathlib import Path

import click

from runicorn.cli.events.opening import is_chosen, of_types, open_log, read_from
from runicorn.cli.events.printing import json_option, print_events
from runicorn.cli.group import state_dir_option, storage_option


@click.command()
@click.argument("stream")
@storage_option
@state_dir_option
@click.option(
    "--offset", default=0, type=click.IntRange(min=0), help="Begin with the first event at or behind this byte."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many events.")
@click.option("--type", "types", multiple=True, help="Only this event type. Repeatable.")
@json_option
def show(
    stream: str,
    storage: str | None,
    state_dir: Path | None,
    offset: int,
    limit: int | None,
    types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the events of one stream: a run (its id or path), an artifact, or a segment of the store stream.

    \b
    Examples:
      runicorn events show 20250114_153045_a1b2c3 --limit 5
      runicorn events show .runicorn/log/00000001 --json
    """
    from itertools import islice

    log = open_log(storage, state_dir)
    chosen = [candidate for candidate in log.streams() if is_chosen(candidate.name, (stream,))]
    if not chosen:
        raise click.ClickException(
            f"No stream {stream} in {log.root}. `runicorn events tail` shows the names of streams."
        )
    if len(chosen) > 1:
        names = "\n  ".join(candidate.name for candidate in chosen)
        raise click.ClickException(f"{stream} names several streams; choose one:\n  {names}")
    wanted = of_types(types)
    print_events(islice((event for event in read_from(log, chosen[0], offset) if wanted(event)), limit), as_json)
