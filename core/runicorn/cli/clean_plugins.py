"""`runicorn plugins clean`: removes what plugins that are no longer installed have left in the state directory."""

from __future__ import annotations

from pathlib import Path

import click

from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json


@click.command("clean")
@storage_option
@state_dir_option
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def clean(storage: str | None, state_dir: Path | None, dry_run: bool, as_json: bool) -> None:
    """Remove read models, cursors and files of plugins that are no longer installed. A server may be running.

    Events that they recorded stay in the log. Plugins that are installed, but not selected, keep everything.

    \b
    Examples:
      runicorn plugins clean --dry-run
      runicorn plugins clean
    """
    import msgspec

    from runicorn.cli.events.opening import open_log
    from runicorn.host import installed_plugins
    from runicorn.projection.leftovers import clean as clean_state

    done = clean_state(open_log(storage, state_dir).state_dir, installed_plugins(), only_look=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **msgspec.to_builtins(done)}, indented=True)
        return
    for left in done.plugins:
        click.echo(f"{left.plugin}: {left.bytes} bytes in {', '.join(left.files)}")
    for plugin in done.in_use:
        click.echo(f"{plugin}: used by a server that runs; restart it first", err=True)
    click.echo(f"{'Would free' if dry_run else 'Freed'} {done.bytes} bytes")
