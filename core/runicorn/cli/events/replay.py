"""`runicorn events replay`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from runicorn.cli.events.opening import open_log
from runicorn.cli.events.printing import json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar


@click.command()
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
