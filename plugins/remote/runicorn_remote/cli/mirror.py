"""`runicorn remote mirror` and `sync`: bring the storage root of another machine here, live or once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import click
import msgspec

from runicorn.plugin import clean, print_json, storage_option
from runicorn_remote.cli.login import LoginOptions, connected, login_options

if TYPE_CHECKING:
    from rich.table import Table

    from runicorn_remote.mirror.progress import MirrorReport
    from runicorn_remote.mirror.task import MirrorTask

_LOOK_S = 0.1


@click.command()
@click.argument("host")
@click.argument("remote_root")
@login_options
@storage_option
@click.option(
    "--interval", default=2.0, show_default=True, type=click.FloatRange(0.5, 3600), help="Seconds between looks."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object whenever the state changes.")
def mirror(host: str, remote_root: str, storage: str | None, interval: float, as_json: bool, **options: object) -> None:
    """Follow the storage root REMOTE_ROOT of HOST until Ctrl-C: runs that train there are live here.

    Runs of this machine are never touched. A lost connection is made again.

    \b
    Example:
      runicorn remote mirror gpu-box /data/runicorn
    """
    with _following(host, remote_root, storage, interval, options) as task, contextlib.suppress(KeyboardInterrupt):
        _watch(task, lambda report: report.state == "error", as_json=as_json)
    _end(task.report(), as_json)


@click.command()
@click.argument("host")
@click.argument("remote_root")
@login_options
@storage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sync(host: str, remote_root: str, storage: str | None, as_json: bool, **options: object) -> None:
    """Bring what is new in the storage root REMOTE_ROOT of HOST, once.

    \b
    Example:
      runicorn remote sync gpu-box /data/runicorn
    """
    with _following(host, remote_root, storage, 0.5, options) as task:
        # A lost connection ends it: whoever wants to wait for it mirrors.
        _watch(task, lambda report: report.state in ("error", "reconnecting") or task.is_level, as_json=as_json)
        report = task.report()
    _end(msgspec.structs.replace(task.report(), last_error=report.last_error), as_json)


@contextlib.contextmanager
def _following(
    host: str, remote_root: str, storage: str | None, interval_s: float, options: dict[str, object]
) -> Generator[MirrorTask]:
    from runicorn.plugin import recorder_of, storage_root
    from runicorn_remote.listing import resolve_directory
    from runicorn_remote.mirror.source import RemoteSource
    from runicorn_remote.mirror.task import MirrorTask

    root = storage_root(storage)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The storage root {root} cannot be created: {error.strerror}") from error
    with connected(host, msgspec.convert(options, LoginOptions)) as connection:
        with connection.shared_sftp() as sftp:
            source = RemoteSource(connection.target, resolve_directory(sftp, remote_root))
        task = MirrorTask(connection, connection.connection_id, source, root, interval_s, recorder_of(root))
        task.start()
        try:
            yield task
        finally:
            task.stop()


def _watch(task: MirrorTask, is_enough: Callable[[MirrorReport], bool], *, as_json: bool) -> None:
    """Show what a task does until it is enough: live on a terminal, else a line per change of state."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    last_state = ""
    with Live(console=console, refresh_per_second=5, transient=True) if console.is_terminal else _Quiet() as live:
        while not is_enough(report := task.report()):
            live.update(_table(report))
            if as_json and report.state != last_state:
                print_json(report)
            last_state = report.state
            time.sleep(_LOOK_S)


class _Quiet(contextlib.AbstractContextManager["_Quiet"]):
    """In place of a live display where nobody would see it."""

    def __exit__(self, *exception: object) -> None: ...

    def update(self, table: Table) -> None: ...


def _table(report: MirrorReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    stats = report.stats
    rows = {
        "mirror": f"{report.host}:{report.remote_root} → {report.local_root}",
        "state": report.state + (f" ({report.last_error})" if report.last_error else ""),
        "behind": "not here yet" if report.lag_s is None else f"{report.lag_s:.0f} s",
        "waiting": f"{report.waiting_files:,} files, {report.waiting_bytes:,} bytes",
        "files": f"{stats.copied_files:,} copied, {stats.failed_files:,} failed",
        "bytes": f"{stats.copied_bytes:,} copied, {stats.appended_bytes:,} appended",
        "scans": f"{stats.scans:,}",
    }
    for name, value in rows.items():
        table.add_row(name, Text(clean(value)))  # names of the server: neither markup nor control characters
    return table


def _end(report: MirrorReport, as_json: bool) -> None:
    """Say what was done. A click.ClickException if it ended by an error."""
    if as_json:
        print_json(report)
    else:
        stats = report.stats
        click.echo(
            f"{stats.copied_files} files and {stats.copied_bytes + stats.appended_bytes} bytes brought"
            f" into {clean(report.local_root)}"
        )
        if stats.failed_files:
            click.echo(f"{stats.failed_files} could not be brought", err=True)
        if report.conflicts:
            click.echo(f"{report.conflicts} exist here already and are kept apart, in .mirrors", err=True)
    if report.last_error:
        raise click.ClickException(clean(report.last_error))
