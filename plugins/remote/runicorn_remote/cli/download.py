"""`runicorn remote download`: the files of an artifact version, brought by a server that is in smart mode."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

import click

from runicorn.plugin import print_json, unused_storage_option
from runicorn_remote.cli.server_calls import DEFAULT_URL, Server

_LOOK_S = 0.2
_CANCELLED = 130
"""The exit status of what Ctrl-C has ended."""
_SPEC = re.compile(r"(?:([^/:]+)/)?([^/:]+):(v[0-9]+)", re.ASCII | re.DOTALL)


@click.command()
@unused_storage_option
@click.argument("version", metavar="[TYPE/]NAME:vN")
@click.option("--target-dir", metavar="DIR", help="Where to, below the server's storage root (default: its cache).")
@click.option(
    "--url", default=DEFAULT_URL, show_default=True, help="The server that is connected to the other machine."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def download(version: str, target_dir: str | None, url: str, as_json: bool) -> None:
    """Bring the files of an artifact version from the machine that a running server shows in smart mode.

    Sizes and checksums are compared with the manifest. Files that are here already are not fetched again: what was cut off
    or cancelled (Ctrl-C) goes on when the command is repeated.

    \b
    Examples:
      runicorn remote download resnet:v3
      runicorn remote download model/resnet:v3 --target-dir weights/resnet --json
    """
    found = _SPEC.fullmatch(version)
    if found is None:
        raise click.BadParameter("a version is expected, such as resnet:v3 or model/resnet:v3", param_hint="VERSION")
    kind, name, number = found.groups()
    server = Server(url)
    body = {} if target_dir is None else {"target_dir": target_dir}
    with _interruptible() as is_interrupted, _progress(version) as show:
        started = server.ask("POST", ["remote", "download", name, number], body, type=kind)
        task = ["remote", "download", str(started["task_id"])]
        show(report := server.look([*task, "status"]))
        while report["status"] == "running":
            if is_interrupted.wait(_LOOK_S):
                with contextlib.suppress(click.ClickException):  # it has just ended
                    server.ask("DELETE", task)
            show(report := server.look([*task, "status"]))
    _end(report, as_json)


@contextlib.contextmanager
def _interruptible() -> Generator[threading.Event]:
    """Set by the first Ctrl-C: it may come before it is known what has to be cancelled. The second one ends the command."""
    is_interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        is_interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield is_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _end(report: dict[str, Any], as_json: bool) -> None:
    """Say how it ended. Exit status 1 if it failed, 130 if it was cancelled."""
    if as_json:
        print_json(report)
    if report["status"] == "completed":
        if not as_json:
            files, count = report["total_files"], report["total_bytes"]
            click.echo(f"{files} files, {count} bytes: verified, in {report['target_dir']}")
        return
    if report["error"] == "Cancelled by user":
        click.echo("Cancelled. Repeat the command to go on.", err=True)
        raise click.exceptions.Exit(_CANCELLED)
    if as_json:
        raise click.exceptions.Exit(1)
    raise click.ClickException(f"{report['error']}. Repeat the command to go on.")


@contextlib.contextmanager
def _progress(version: str) -> Generator[Any]:
    """Shows reports on a terminal; elsewhere nobody would see it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(version, total=None)

        def show(report: dict[str, Any]) -> None:
            files = f"{version} {report['downloaded_files']}/{report['total_files']} files"
            progress.update(bar, description=files, completed=report["downloaded_bytes"], total=report["total_bytes"])

        yield show
