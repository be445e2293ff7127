"""`runicorn events`: look into the log, check it, and build the read models again from it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar

if TYPE_CHECKING:
    from runicorn.events.log import FileLog, LocatedEvent, Stream

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


@click.group()
def events() -> None:
    """Look into the event log, check it, and build read models again from it."""


@events.command()
@storage_option
@state_dir_option
@click.option("--run", "runs", multiple=True, help="Only this run: its id, or its path below the root. Repeatable.")
@click.option("--type", "types", multiple=True, help="Only this event type, such as run.finished. Repeatable.")
@click.option(
    "-n", "--lines", "count", default=20, show_default=True, type=click.IntRange(min=0), help="How many to begin with."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they are appended, until Ctrl-C.")
@json_option
def tail(
    storage: str | None,
    state_dir: Path | None,
    runs: tuple[str, ...],
    types: tuple[str, ...],
    count: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the last events of a store, by time, and follow it.

    \b
    Examples:
      runicorn events tail
      runicorn events tail --follow --type run.created --type run.finished
      runicorn events tail --run 20250114_153045_a1b2c3 --json
    """
    from runicorn.events import tail as tailing

    log = open_log(storage, state_dir)

    def choose() -> list[Stream]:
        return [stream for stream in log.streams() if _is_chosen(stream.name, runs)]

    streams = choose()
    if runs and not streams and not follow:
        raise click.ClickException(f"No events of {', '.join(runs)} in {log.root}")
    wanted = _filter(types)
    # With a filter, more than `count` events have to be looked at.
    ends = tailing.ends_of(log, streams)
    shown = [event for event in tailing.last_events(log, ends, count * 50 if types else count) if wanted(event)]
    _print(shown[-count:] if count else [], as_json)
    if follow:
        try:
            _print((event for event in tailing.follow(log, ends, choose) if wanted(event)), as_json)
        except KeyboardInterrupt:
            return


@events.command()
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
    chosen = [candidate for candidate in log.streams() if _is_chosen(candidate.name, (stream,))]
    if not chosen:
        raise click.ClickException(
            f"No stream {stream} in {log.root}. `runicorn events tail` shows the names of streams."
        )
    if len(chosen) > 1:
        names = "\n  ".join(candidate.name for candidate in chosen)
        raise click.ClickException(f"{stream} names several streams; choose one:\n  {names}")
    wanted = _filter(types)
    _print(islice((event for event in _read_all(log, chosen[0], offset) if wanted(event)), limit), as_json)


@events.command()
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
    click.echo(f"{len(streams)} streams, {total} bytes checked: {problems or 'no'} problems.", err=True)
    if problems:
        sys.exit(1)


@events.command()
@storage_option
@state_dir_option
@click.option("--plugin", "plugins", multiple=True, help="Only the read models of this plugin. Repeatable.")
@json_option
def replay(storage: str | None, state_dir: Path | None, plugins: tuple[str, ...], as_json: bool) -> None:
    """Build the read models again from the log, beside the ones that serve, and then switch over.

    A server that runs on this store goes on answering and moves to the new read models when they are complete.

    \b
    Examples:
      runicorn events replay
      runicorn events replay --plugin runs
    """
    from runicorn.errors import RunicornError
    from runicorn.host import PluginHost, Selection
    from runicorn.projection.rebuild import rebuild
    from runicorn.root import bind

    log = open_log(storage, state_dir)
    bind(log.root, log.state_dir)
    host = PluginHost.load(Selection.resolve())
    unknown = [name for name in plugins if host.get(name) is None]
    if unknown:
        raise click.ClickException(f"No such plugin: {', '.join(unknown)}")
    started = time.monotonic()
    done = 0
    total = sum(position.size for stream in log.streams() if (position := log.position(stream)) is not None)
    try:
        with progress_bar("Replaying", total) as advance:

            def progress(count: int) -> None:
                nonlocal done
                done += count
                advance(count)

            result = rebuild(log.root, log.state_dir, host, plugins or None, progress)
    except RunicornError as error:
        raise click.ClickException(str(error)) from None
    seconds = time.monotonic() - started
    if as_json:
        click.echo(
            json.dumps(
                {"events": result.events, "bytes": done, "seconds": round(seconds, 3), "plugins": result.plugins}
            )
        )
    else:
        click.echo(f"Replayed {result.events} events ({done} bytes) in {seconds:.1f} s: {', '.join(result.plugins)}")


def open_log(storage: str | None, state_dir: Path | None) -> FileLog:
    """The log of a store. ClickException if there is none."""
    from runicorn.config import state_directory, storage_root
    from runicorn.events.log import FileLog
    from runicorn.root import check_belongs

    root = storage_root(storage)
    if not root.is_dir():
        raise click.ClickException(f"There is no storage root at {root}. Name one with --storage.")
    state = state_directory(root, state_dir)
    check_belongs(root, state)
    return FileLog(root, state)


def _is_chosen(name: str, chosen: Sequence[str]) -> bool:
    return not chosen or any(name == choice or name.rpartition("/")[2] == choice for choice in chosen)


def _filter(types: Sequence[str]) -> Callable[[LocatedEvent], bool]:
    wanted = frozenset(types)
    return lambda located: not wanted or located.event.type in wanted


def _read_all(log: FileLog, stream: Stream, offset: int) -> Iterator[LocatedEvent]:
    from runicorn.events.log import LocatedEvent

    after = log.line_start(stream, offset)
    while (lines := log.read(stream, after=after)).end > after:
        for start, event in zip(lines.offsets, lines.events, strict=True):
            yield LocatedEvent(stream, start, event)
        after = lines.end


def _print(located: Iterable[LocatedEvent], as_json: bool) -> None:
    for one in located:
        click.echo(_as_json(one) if as_json else _as_line(one))
        if as_json or not sys.stdout.isatty():
            sys.stdout.flush()


def _as_json(one: LocatedEvent) -> str:
    from runicorn.events.envelope import decode_data
    from runicorn.files import dump_json

    ts = one.event.ts if one.event.ts == one.event.ts else None
    record: dict[str, Any] = {
        "stream": one.stream.name,
        "offset": one.offset,
        "ts": ts,
        "type": one.event.type,
        "data": decode_data(one.event),
    }
    return dump_json(record).decode()


def _as_line(one: LocatedEvent) -> str:
    ts = one.event.ts
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts)) if 0 <= ts < 1 << 35 else "?" * 19
    data = bytes(one.event.data).decode("utf-8", "replace")
    line = f"{clock}  {one.event.type:<16} {one.stream.name}@{one.offset}  {data}"
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return line if len(line) <= width else line[: width - 1] + "…"
