"""`runicorn remote add`, `list` and `remove`: saved connections, the same that the web interface has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runicorn.plugin import print_json, unused_storage_option

if TYPE_CHECKING:
    from runicorn.plugin import SavedConnection


@click.command()
@unused_storage_option
@click.argument("name")
@click.argument("host")
@click.option("-i", "--identity", metavar="FILE", help="Private key to log in with; the file is named, not copied.")
@click.option(
    "--ask-password", is_flag=True, help="Ask for a password, or with -i for a passphrase, and keep it encrypted."
)
@click.option("--password-stdin", is_flag=True, help="Read it from the standard input instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def add(name: str, host: str, identity: str | None, ask_password: bool, password_stdin: bool, as_json: bool) -> None:
    """Save the connection HOST as NAME; it replaces one to the same host, port and user.

    Nobody logs in. Commands take NAME in place of HOST from then on.

    \b
    Examples:
      runicorn remote add lab me@192.168.1.100:2222 -i ~/.ssh/id_ed25519
      runicorn remote add lab me@gpu.example.org --ask-password
      pass show lab | runicorn remote add lab me@gpu.example.org --password-stdin
    """
    import sys

    from runicorn.plugin import Address, SavedConnection, SavedConnections
    from runicorn_remote.cli.login import target_of

    name = name.strip()
    if not name or not name.isprintable() or len(name) > 100:
        raise click.BadParameter("1 to 100 printable characters", param_hint="NAME")
    if ask_password and password_stdin:
        raise click.UsageError("--ask-password and --password-stdin exclude each other")
    target = target_of(host)
    connections = SavedConnections()
    address = Address(target.host, target.port, target.username)
    if any(saved.name == name and saved.address != address for saved in connections.latest()):
        raise click.ClickException(f"{name} is the name of another connection; remove it first.")
    secret = ""
    if ask_password:
        secret = click.prompt(f"Password for {target.connection_id}", hide_input=True)
    elif password_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise click.ClickException("The standard input has no password.")
    saved = SavedConnection(
        address=address,
        name=name,
        auth_method="key" if identity else "password" if secret else "agent",
        remember_password=bool(secret),
        private_key_path=identity,
    )
    connections.save(saved, {"passphrase" if identity else "password": secret})
    if as_json:
        print_json(_shown(saved))
    else:
        click.echo(f"{name} is saved: {target.connection_id}")


@click.command("list")
@unused_storage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_saved(as_json: bool) -> None:
    """List the saved connections; no secrets.

    \b
    Example:
      runicorn remote list --json
    """

    from runicorn.plugin import SavedConnections

    found = SavedConnections().latest()
    if as_json:
        print_json([_shown(saved) for saved in found], indented=True)
        return
    if not found:
        click.echo("No saved connections.")
    for saved in found:
        address = saved.address
        how = f", key {saved.private_key_path}" if saved.private_key_path else ""
        kept = ", with a secret" if saved.remember_password else ""
        click.echo(f"{saved.name or address.key}: {address.username}@{address.host}:{address.port}{how}{kept}")


@click.command()
@unused_storage_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove(name: str, as_json: bool) -> None:
    """Forget the saved connection NAME and its secrets. Nothing on the other machine changes.

    \b
    Example:
      runicorn remote remove lab
    """

    from runicorn.plugin import SavedConnections
    from runicorn_remote.cli.login import saved_named

    saved = saved_named(name)
    if saved is None:
        raise click.ClickException(f"No saved connection is named {name}.")
    SavedConnections().delete(saved.address.key)
    if as_json:
        print_json(_shown(saved))
    else:
        click.echo(f"{name} is forgotten.")


def _shown(saved: SavedConnection) -> dict[str, object]:
    address = saved.address
    return {
        "name": saved.name,
        "host": address.host,
        "port": address.port,
        "username": address.username,
        "auth_method": saved.auth_method,
        "has_secret": saved.remember_password,
        "private_key_path": saved.private_key_path,
    }
