"""`runicorn remote`: machines that are reached by SSH."""

from __future__ import annotations

import click

from runicorn_remote.cli.download import download
from runicorn_remote.cli.hosts import check, hosts
from runicorn_remote.cli.listing import ls
from runicorn_remote.cli.logins import connect, status
from runicorn_remote.cli.mirror import mirror, sync
from runicorn_remote.cli.push import push
from runicorn_remote.cli.saved import add, list_saved, remove


@click.group()
def remote() -> None:
    """Machines that are reached by SSH.

    HOST is the name of a saved connection, an alias of ~/.ssh/config, or [USER@]NAME[:PORT].

    \b
    Examples:
      runicorn remote add lab me@gpu.example.org -i ~/.ssh/id_ed25519
      runicorn remote ls gpu-box
      runicorn remote mirror gpu-box /data/runicorn
      runicorn remote sync me@192.168.1.100:2222 ~/runicorn --json
    """


for command in (add, list_saved, remove, connect, status, hosts, check, ls, mirror, sync, download, push):
    remote.add_command(command)
