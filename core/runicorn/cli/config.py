"""`runicorn config`: the user's configuration."""

from __future__ import annotations

import click

from runicorn.cli.group import storage_option
from runicorn.config import config_file, configured_root, storage_root
from runicorn.files import dump_json
from runicorn.user_config import set_user_root


@click.command()
@storage_option
@click.option("--show", is_flag=True, help="Show the configuration (the default).")
@click.option("--set-user-root", "chosen", metavar="PATH", help="Store PATH as the storage root of this user.")
@click.option("--json", "as_json", is_flag=True, help="Show it as JSON, with the storage root that commands would use.")
def config(storage: str | None, show: bool, chosen: str | None, as_json: bool) -> None:
    """Show or change the configuration of this user.

    \b
    Examples:
      runicorn config
      runicorn config --json
      runicorn config --set-user-root ~/experiments
    """
    if chosen is not None:
        stored = set_user_root(chosen)
        if not as_json:
            click.echo(f"Set user_root_dir to: {stored}")
    if as_json:
        content = {
            "config_file": str(config_file()),
            "user_root_dir": configured_root(),
            "storage": str(storage_root(storage)),
        }
        click.echo(dump_json(content))
    elif chosen is None or show:
        _show()


def _show() -> None:
    root = configured_root()
    click.echo("Runicorn user config:")
    click.echo(f"  File          : {config_file()}")
    click.echo(f"  user_root_dir : {root or '(not set)'}")
    if not root:
        click.echo("Tip: `runicorn config --set-user-root PATH` makes PATH the storage root of all your projects.")
