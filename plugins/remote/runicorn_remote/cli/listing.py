"""`runicorn remote ls`: what is in a directory of another machine."""

from __future__ import annotations

import time

import click

from runicorn.plugin import print_json, unused_storage_option
from runicorn_remote.cli.login import LoginOptions, connected, login_options


@click.command()
@unused_storage_option
@click.argument("host")
@click.argument("path", default="~")
@login_options
@click.option("-a", "--all", "show_hidden", is_flag=True, help="Show hidden entries, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(host: str, path: str, show_hidden: bool, as_json: bool, **options: object) -> None:
    """List the directory PATH of HOST; by default the one where SFTP starts.

    \b
    Examples:
      runicorn remote ls gpu-box /data
      runicorn remote ls me@192.168.1.100:2222 --json
    """
    import msgspec

    from runicorn.plugin import clean
    from runicorn_remote.listing import list_directory

    with connected(host, msgspec.convert(options, LoginOptions)) as connection, connection.shared_sftp() as sftp:
        directory = list_directory(sftp, path, show_hidden=show_hidden)
    if as_json:
        print_json(directory, indented=True)
        return
    for entry in directory.items:
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.mtime))
        name = entry.name + ("/" if entry.type == "dir" else "")
        click.echo(f"{entry.size:>14,}  {changed}  {clean(name)}")
    if directory.truncated:
        click.echo("… and more: only the first 10 000 entries are listed.", err=True)
