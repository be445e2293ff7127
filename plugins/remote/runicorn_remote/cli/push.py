"""`runicorn remote push`: bring runs of this machine to a storage root on another one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from runicorn_remote.cli.login import LoginOptions, connected, login_options

if TYPE_CHECKING:
    from runicorn_remote.connection import Connection
    from runicorn_remote.push.pushing import PushStats

_ATTEMPTS = 6
_FINAL = frozenset({"auth_failed", "bad_key", "host_key_mismatch"})


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@click.argument("target", metavar="ssh://HOST/PATH")
@login_options
@click.option("--all", "all_runs", is_flag=True, help="Push every run that was made here.")
@click.option("--storage", metavar="PATH", help="Storage root (default: as configured).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(
    runs: tuple[str, ...], target: str, all_runs: bool, storage: str | None, as_json: bool, **options: object
) -> None:
    """Bring runs of this machine into the storage root PATH of HOST: what is new is added, nothing is deleted.

    RUN is an id, or a path below the storage root. A run whose events there are not the beginning of those here is left
    alone and named. A lost connection is made again; a push that was cut off goes on where it ended.

    \b
    Examples:
      runicorn remote push --all ssh://gpu-box/data/runicorn
      runicorn remote push 20250114_153045_a1b2c3 ssh://me@192.168.1.100:2222/~/runicorn --json
    """
    from runicorn.plugin import storage_root
    from runicorn_remote.push.local_runs import local_runs
    from runicorn_remote.push.pushing import PushStats

    if bool(runs) == all_runs:
        raise click.UsageError("Name runs, or say --all")
    host, path = _split_target(target)
    root = storage_root(storage)
    keys = _chosen(runs, local_runs(root))
    stats = PushStats()
    with connected(host, msgspec.convert(options, LoginOptions)) as connection:
        _push_all(connection, root, path, keys, stats)
    if as_json:
        click.echo(msgspec.json.encode(stats))
    else:
        click.echo(f"{stats.runs} of {len(keys)} runs are there; {stats.files} files, {stats.sent_bytes} bytes sent")
        for conflict in stats.conflicts:
            click.echo(conflict, err=True)
    if stats.conflicts:
        raise click.exceptions.Exit(1)


def _push_all(connection: Connection, root: Path, path: str, keys: Sequence[str], stats: PushStats) -> None:
    """Push runs, over as many connections as it takes. A ClickException that says how to go on."""
    from runicorn.plugin import Conflict
    from runicorn_remote.channels import translated
    from runicorn_remote.errors import ConnectFailed, ConnectionLost, OperationTimeout
    from runicorn_remote.paths import absolute_path
    from runicorn_remote.push.pushing import Pusher

    left = list(keys)
    attempt = 0
    while left:
        before = (len(left), stats.sent_bytes)
        try:
            connection.reconnect()
            sftp = connection.open_sftp()
            try:
                with translated(path):
                    remote_root = absolute_path(path, sftp.normalize("."))
                pusher = Pusher(sftp, root, remote_root, connection.connection_id, stats)
                while left:
                    try:
                        pusher.push(left[0])
                        stats.runs += 1
                    except Conflict as conflict:
                        stats.conflicts.append(str(conflict))
                    left.pop(0)
            finally:
                with contextlib.suppress(EOFError, OSError):  # of a connection that is lost
                    sftp.close()
        except (ConnectFailed, ConnectionLost, OperationTimeout) as error:
            attempt = 0 if before != (len(left), stats.sent_bytes) else attempt + 1
            if attempt >= _ATTEMPTS or error.code in _FINAL:
                raise click.ClickException(
                    f"{len(left)} of {len(keys)} runs are not complete there: {error}. Repeat the command to go on."
                ) from error
            time.sleep(min(2.0**attempt, 10))


def _split_target(target: str) -> tuple[str, str]:
    address, slash, path = target.removeprefix("ssh://").partition("/")
    if not target.startswith("ssh://") or not address or not slash or ":" in address.rpartition("@")[0]:
        raise click.BadParameter("ssh://[USER@]HOST[:PORT]/PATH is expected, without a password", param_hint="TARGET")
    return address, path if path.startswith("~") else f"/{path}"


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
