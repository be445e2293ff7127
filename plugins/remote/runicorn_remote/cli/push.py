"""`runicorn remote push`: bring runs of this machine to a storage root on another one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from runicorn.plugin import print_json, storage_option
from runicorn_remote.cli.login import LoginOptions, connected, login_options

if TYPE_CHECKING:
    from runicorn_remote.connection import Connection
    from runicorn_remote.push.pushing import PushStats

_ATTEMPTS = 6


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@click.argument("target", metavar="ssh://HOST/PATH")
@login_options
@click.option("--all", "all_runs", is_flag=True, help="Push every run that was made here.")
@click.option("--follow", is_flag=True, help="Go on pushing one run until it ends.")
@click.option(
    "--log",
    "log_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --follow: write down what goes wrong; removed once the run is complete there.",
)
@storage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(
    runs: tuple[str, ...],
    target: str,
    all_runs: bool,
    follow: bool,
    log_file: Path | None,
    storage: str | None,
    as_json: bool,
    **options: object,
) -> None:
    """Bring runs of this machine into the storage root PATH of HOST: what is new is added, nothing is deleted.

    RUN is an id, or a path below the storage root. A run whose events there are not the beginning of those here is left
    alone and named. A lost connection is made again; a push that was cut off goes on where it ended.

    \b
    Examples:
      runicorn remote push --all ssh://gpu-box/data/runicorn
      runicorn remote push 20250114_153045_a1b2c3 ssh://me@192.168.1.100:2222/~/runicorn --json
      runicorn remote push --follow 20250114_153045_a1b2c3 ssh://gpu-box/data/runicorn
    """
    from runicorn.plugin import InvalidRemote, parse_remote, storage_root
    from runicorn_remote.push.local_runs import local_runs
    from runicorn_remote.push.pushing import PushStats

    if bool(runs) == all_runs:
        raise click.UsageError("Name runs, or say --all")
    if follow and len(runs) != 1:
        raise click.UsageError("--follow takes one run")
    if log_file is not None and not follow:
        raise click.UsageError("--log needs --follow")
    try:
        place = parse_remote(target)
    except InvalidRemote as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from error
    root = storage_root(storage)
    login = msgspec.convert(options, LoginOptions)
    if follow:
        from runicorn_remote.cli.following import follow_run

        keys = [_followed(runs[0].strip("/"), root)]
        stats = follow_run(place, login, root, keys[0], log_file)
    else:
        keys = _chosen(runs, local_runs(root))
        stats = PushStats()
        with connected(place.host, login) as connection:
            _push_all(connection, root, place.path, keys, stats)
    if as_json:
        print_json(stats)
    else:
        click.echo(f"{stats.runs} of {len(keys)} runs are there; {stats.files} files, {stats.sent_bytes} bytes sent")
        for sentence in stats.ahead:
            click.echo(sentence)
        for conflict in stats.conflicts:
            click.echo(conflict, err=True)
    if stats.conflicts:
        raise click.exceptions.Exit(1)


def _push_all(connection: Connection, root: Path, path: str, keys: Sequence[str], stats: PushStats) -> None:
    """Push runs, over as many connections as it takes. A ClickException that says how to go on."""
    from runicorn_remote.channels import translated
    from runicorn_remote.errors import ConnectFailed, ConnectionLost, OperationTimeout
    from runicorn_remote.paths import absolute_path
    from runicorn_remote.push.pushing import Pusher

    left = dict.fromkeys(keys)
    attempt = 0
    while left:
        before = (len(left), stats.sent_bytes)
        try:
            connection.reconnect()
            with connection.shared_sftp() as sftp, translated(path):
                remote_root = absolute_path(path, sftp.normalize("."))
            with contextlib.closing(Pusher(connection, root, remote_root, stats)) as pusher:
                for pushed in pusher.push(list(left)):
                    stats.note(pushed.failure)
                    del left[pushed.key]
        except (ConnectFailed, ConnectionLost, OperationTimeout) as error:
            attempt = 0 if before != (len(left), stats.sent_bytes) else attempt + 1
            if attempt >= _ATTEMPTS or (isinstance(error, ConnectFailed) and error.is_final):
                raise click.ClickException(
                    f"{len(left)} of {len(keys)} runs are not complete there: {error}. Repeat the command to go on."
                ) from error
            time.sleep(min(2.0**attempt, 10))


def _followed(run: str, root: Path) -> str:
    """The key of the run to follow. A key is taken as it is, without a look at the others."""
    from runicorn.plugin import is_run_key
    from runicorn_remote.push.local_runs import local_runs

    if is_run_key(run) and not run.startswith(".") and (root / run).is_dir():
        return run
    found = _chosen([run], local_runs(root))
    if len(found) > 1:
        raise click.ClickException(f"Several runs are called {run}; name one by its path: {', '.join(found[:3])}")
    return found[0]


def _chosen(runs: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    if not runs:
        return known
    chosen: list[str] = []
    for run in runs:
        found = [key for key in known if run.strip("/") in (key, key.rpartition("/")[2])]
        if not found:
            raise click.ClickException(f"No run of this machine is called {run}.")
        chosen += found
    return list(dict.fromkeys(chosen))
