"""`runicorn events show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.opening import is_chosen, of_types, open_log, read_from
from runicorn.cli.events.printing import json_option, print_events
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.table import clean

if TYPE_CHECKING:
    from runicorn.events.log import FileLog, Stream

_ORDER = {"store": 0, "artifact": 1, "run": 2}


@click.command()
@click.argument("stream", required=False)
@storage_option
@state_dir_option
@click.option("--all", "everything", is_flag=True, help="Every stream of the store, one after the other.")
@click.option("--project", metavar="NAME", help="The streams of all runs of a project.")
@click.option(
    "--offset", default=0, type=click.IntRange(min=0), help="Begin with the first event at or behind this byte."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many events.")
@click.option("--type", "types", multiple=True, help="Only this event type. Repeatable.")
@json_option
def show(
    stream: str | None,
    storage: str | None,
    state_dir: Path | None,
    everything: bool,
    project: str | None,
    offset: int,
    limit: int | None,
    types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the events of one stream: a run (its id or path), an artifact, or a segment of the store stream.

    With --all or --project, those of several streams, by name: the store stream first, then artifacts, then runs.

    \b
    Examples:
      runicorn events show 20250114_153045_a1b2c3 --limit 5
      runicorn events show .runicorn/log/00000001 --json
      runicorn events show --project demo --type run.finished
      runicorn events show --all --json > events.jsonl
    """
    from itertools import islice

    if (stream is not None) + everything + (project is not None) != 1:
        raise click.UsageError("Give one of STREAM, --all and --project.")
    if offset and stream is None:
        raise click.UsageError("--offset goes with STREAM: it is a place in one stream.")
    log = open_log(storage, state_dir)
    chosen = _several(log, project) if stream is None else [_one(log, stream)]
    wanted = of_types(types)
    events = (event for one in chosen for event in read_from(log, one, offset) if wanted(event))
    print_events(islice(events, limit), as_json)


def _one(log: FileLog, name: str) -> Stream:
    chosen = [candidate for candidate in log.streams() if is_chosen(candidate.name, (name,))]
    if not chosen:
        raise click.ClickException(
            f"No stream {name} in {log.root}. `runicorn events tail` shows the names of streams."
        )
    if len(chosen) > 1:
        names = "\n  ".join(clean(candidate.name) for candidate in chosen)
        raise click.ClickException(f"{name} names several streams; choose one:\n  {names}")
    return chosen[0]


def _several(log: FileLog, project: str | None) -> list[Stream]:
    """All streams, or those of the runs in the directory of a project."""
    from runicorn.events.discovery import run_at

    found = [
        stream
        for stream in log.streams()
        if project is None or (stream.kind == "run" and run_at(stream.name).project == project)
    ]
    if project is not None and not found:
        raise click.ClickException(f"No run of the project {project} in {log.root} has events.")
    return sorted(found, key=lambda stream: (_ORDER[stream.kind], stream.name))
