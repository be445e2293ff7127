"""`runicorn events verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from runicorn.cli.events.opening import open_log
from runicorn.cli.events.printing import counted, json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar


@click.command()
@storage_option
@state_dir_option
@json_option
def verify(storage: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Check every stream, and the files of every run and artifact. Exit status 1 if something is damaged.

    \b
    Examples:
      runicorn events verify
      runicorn events verify --json | jq .stream
    """
    from runicorn.events.problems import Problem
    from runicorn.events.side_files import verify_side_files
    from runicorn.events.verify import verify_stream
    from runicorn.host import PluginHost, Selection

    log = open_log(storage, state_dir)
    host = PluginHost.load(Selection.resolve())
    types = {
        payload.event_type: payload for _, payload in host.unique("event_types", lambda t: t.event_type, "event type")
    }
    streams = list(log.streams())
    positions = [log.position(stream) for stream in streams]
    total = sum(position.size for position in positions if position is not None)
    problems = 0

    def report(problem: Problem) -> None:
        nonlocal problems
        problems += 1
        if as_json:
            click.echo(json.dumps({"stream": problem.stream, "offset": problem.offset, "reason": problem.reason}))
        else:
            place = problem.stream if problem.offset is None else f"{problem.stream} @ {problem.offset}"
            click.echo(f"{place}: {problem.reason}")

    with progress_bar("Checking", total) as advance:
        for stream in streams:
            for found in verify_stream(log, stream, types):
                if isinstance(found, Problem):
                    report(found)
                else:
                    advance(found)
        for problem in verify_side_files(log.root):
            report(problem)
    checked = f"{counted(len(streams), 'stream')}, {counted(total, 'byte')} checked"
    click.echo(f"{checked}: {counted(problems, 'problem') if problems else 'no problems'}.", err=True)
    if problems:
        sys.exit(1)
