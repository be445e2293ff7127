"""`runicorn events replay`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.opening import open_log
from runicorn.cli.events.printing import json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar

if TYPE_CHECKING:
    from runicorn.events.log import FileLog
    from runicorn.host import PluginHost
    from runicorn.projection.base import Projection

Chosen = dict[str, Sequence["Projection"]]


@click.command()
@storage_option
@state_dir_option
@click.option("--plugin", "plugins", multiple=True, help="Only the read models of this plugin. Repeatable.")
@click.option(
    "--projection",
    metavar="NAME",
    help="Only this projection. The projections of a plugin share a file: with --into those before it are built, too, "
    "without --into all of them.",
)
@click.option("--as-of", metavar="TIME", help="Only events up to this time: ISO 8601, or how long ago, such as 2h.")
@click.option(
    "--into",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Build files to take away, one per plugin in this directory, or one that is named like FILE.db.",
)
@json_option
def replay(
    storage: str | None,
    state_dir: Path | None,
    plugins: tuple[str, ...],
    projection: str | None,
    as_of: str | None,
    into: Path | None,
    as_json: bool,
) -> None:
    """Build the read models again from the log, beside the ones that serve, and then switch over.

    A server that runs on this store goes on answering and moves to the new read models when they are complete. With
    --into nothing of the store changes: the files are SQLite databases for other programs.

    \b
    Examples:
      runicorn events replay
      runicorn events replay --plugin runs
      runicorn events replay --plugin runs --as-of 2h --into runs-before.db
    """
    from runicorn.host import PluginHost, Selection
    from runicorn.moments import parse_moment

    if as_of is not None and into is None:
        raise click.UsageError(
            "--as-of goes with --into: what serves holds the whole log. To look at the past: `runicorn serve --as-of`."
        )
    until = None if as_of is None else parse_moment(as_of, time.time())
    log = open_log(storage, state_dir)
    host = PluginHost.load(Selection.resolve())
    chosen = _chosen(host, plugins, projection, whole_files=into is None)
    started = time.monotonic()
    events, size, places = _rebuild(log, host, chosen) if into is None else _build_into(log, chosen, into, until)
    seconds = time.monotonic() - started
    if as_json:
        report = {
            "events": events,
            "bytes": size,
            "seconds": round(seconds, 3),
            "events_per_second": round(events / seconds),
            "plugins": sorted(chosen),
            "as_of": until,
            "files": [str(place) for place in places],
        }
        click.echo(json.dumps(report))
        return
    rate = f"{events / seconds:.0f} events/s"
    click.echo(f"Replayed {events} events ({size} bytes) in {seconds:.1f} s, {rate}: {', '.join(sorted(chosen))}")
    for place in places:
        click.echo(place)


def _chosen(host: PluginHost, plugins: Sequence[str], projection: str | None, *, whole_files: bool) -> Chosen:
    """The projections that are to be built, by plugin."""
    unknown = [name for name in plugins if host.get(name) is None]
    if unknown:
        raise click.ClickException(f"No such plugin: {', '.join(unknown)}")
    chosen: Chosen = {
        plugin.name: found for plugin, found in host.collect("projections") if not plugins or plugin.name in plugins
    }
    if projection is None:
        return chosen
    places = [
        (plugin, found[: number + 1])
        for plugin, found in chosen.items()
        for number, one in enumerate(found)
        if one.name == projection
    ]
    if not places:
        names = ", ".join(one.name for found in chosen.values() for one in found)
        raise click.ClickException(f"No such projection: {projection}. There are: {names}")
    if len(places) > 1:
        raise click.ClickException(f"Several plugins have a projection {projection}; choose one with --plugin.")
    plugin, found = places[0]
    return {plugin: chosen[plugin] if whole_files else found}


def _rebuild(log: FileLog, host: PluginHost, chosen: Chosen) -> tuple[int, int, list[Path]]:
    from runicorn.projection.rebuild import rebuild
    from runicorn.root import bind

    bind(log.root, log.state_dir)
    with _bar(log) as (progress, size):
        result = rebuild(log.root, log.state_dir, host, list(chosen), progress)
    return result.events, size(), []


def _build_into(log: FileLog, chosen: Chosen, into: Path, until: float | None) -> tuple[int, int, list[Path]]:
    from runicorn.events.past import PastLog
    from runicorn.projection.rebuild import build_aside

    files = _files(chosen, into)
    if log.state_dir.resolve() in (into.resolve(), *into.resolve().parents):
        raise click.ClickException("The files would be in the state directory, which is the server's own.")
    taken = [path for path in files.values() if path.exists()]
    if taken:
        raise click.ClickException(f"{taken[0]} exists already")
    try:
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{into} cannot be made: {error.strerror}") from None
    past = log if until is None else PastLog(log.root, log.state_dir, until)
    with _bar(log) as (progress, size):
        events = build_aside(past, files, chosen, progress)
    return events, size(), sorted(files.values())


def _files(chosen: Chosen, into: Path) -> dict[str, Path]:
    if into.suffix in ("", ".") or into.is_dir():
        return {plugin: into / f"{plugin}.db" for plugin in chosen}
    if len(chosen) == 1:
        return dict.fromkeys(chosen, into)
    raise click.ClickException(
        f"{into} is one file, and every plugin has one of its own: choose a --plugin, or give a directory."
    )


@contextmanager
def _bar(log: FileLog) -> Generator[tuple[Callable[[int], None], Callable[[], int]]]:
    """What to tell the bytes that were read, and how many these were in the end."""
    done = 0
    with progress_bar("Replaying", log.size) as advance:

        def progress(count: int) -> None:
            nonlocal done
            done += count
            advance(count)

        yield progress, lambda: done
