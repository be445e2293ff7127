"""`runicorn remote`: machines that are reached by SSH."""

from __future__ import annotations

import click

from runicorn_remote.cli.hosts import check, hosts
from runicorn_remote.cli.listing import ls
from runicorn_remote.cli.mirror import mirror, sync


@click.group()
def remote() -> None:
    """Machines that are reached by SSH.

    HOST is an alias of ~/.ssh/config, or [USER@]NAME[:PORT].

    \b
    Examples:
      runicorn remote ls gpu-box
      runicorn remote mirror gpu-box /data/runicorn
      runicorn remote sync me@192.168.1.100:2222 ~/runicorn --json
    """


for command in (hosts, check, ls, mirror, sync):
    remote.add_command(command)
