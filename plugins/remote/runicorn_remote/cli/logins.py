"""`runicorn remote connect` and `status`: whether a login works, and what is there."""

from __future__ import annotations

import click
import msgspec

from runicorn.plugin import print_json, unused_storage_option
from runicorn_remote.cli.login import LoginOptions, connected, login_options


@click.command()
@unused_storage_option
@click.argument("host")
@login_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def connect(host: str, as_json: bool, **options: object) -> None:
    """Log in to HOST once, and say how that went: method, host key, directory.

    \b
    Examples:
      runicorn remote connect lab
      runicorn remote connect me@192.168.1.100:2222 --ask-password --json
    """
    from runicorn_remote.listing import existing_directory

    with connected(host, msgspec.convert(options, LoginOptions)) as connection, connection.shared_sftp() as sftp:
        made, home = connection.established, existing_directory(sftp, "~")
        if as_json:
            answer = {"ok": True, "connection_id": connection.connection_id, "home": home}
            answer |= {"host_key": msgspec.to_builtins(made.host_key), "first_use": made.first_use}
            print_json(answer)
        else:
            click.echo(f"{connection.connection_id} accepts the login; it starts in {home}")
            click.echo(f"  host key {made.host_key.type} {made.host_key.sha256}")


@click.command()
@unused_storage_option
@click.argument("host")
@click.argument("remote_root")
@login_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(host: str, remote_root: str, as_json: bool, **options: object) -> None:
    """Say what the directory REMOTE_ROOT of HOST has of a storage root: experiments, and types of artifacts.

    \b
    Example:
      runicorn remote status lab /data/runicorn --json
    """
    from runicorn_remote.listing import resolve_directory
    from runicorn_remote.structure import structure_of

    with connected(host, msgspec.convert(options, LoginOptions)) as connection, connection.shared_sftp() as sftp:
        root = resolve_directory(sftp, remote_root)
        found = structure_of(sftp, root)
        connection_id = connection.connection_id
    if as_json:
        answer = {"connection_id": connection_id, "remote_root": root, **msgspec.to_builtins(found)}
        print_json(answer)
        return
    kinds = [kind for kind in ("model", "dataset", "config", "code", "custom") if getattr(found, f"has_{kind}")]
    click.echo(f"{connection_id}:{root}")
    click.echo(f"  experiments: {'yes' if found.has_experiments else 'none'}")
    click.echo(f"  artifacts: {', '.join(kinds) or 'none'}")
