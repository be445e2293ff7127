"""`runicorn artifacts restore`, `verify` and `gc`: deletions taken back, contents checked, space freed."""

from __future__ import annotations

import click

from runicorn.plugin import storage_option
from runicorn_artifacts.actions import Actions
from runicorn_artifacts.commands.options import VERSION, json_option, root_of
from runicorn_artifacts.lookup import Lookup


@click.command()
@click.argument("version", metavar=VERSION)
@storage_option
@json_option
@click.pass_context
def restore(context: click.Context, version: str, storage: str | None, as_json: bool) -> None:
    """Take back the deletion of a version. A deleted one is found by its number only.

    \b
    Examples:
      runicorn artifacts restore net:v3
    """
    root = root_of(context, storage)
    Actions(root, as_json=as_json).restore(*Lookup(root).resolve(version))


@click.command()
@click.argument("version", metavar=f"[{VERSION}]", required=False)
@storage_option
@json_option
@click.pass_context
def verify(context: click.Context, version: str | None, storage: str | None, as_json: bool) -> None:
    """Read the contents of all versions again, or of one, and tell what is damaged: exit status 1 if anything is.

    \b
    Examples:
      runicorn artifacts verify
      runicorn artifacts verify net:v3 --json
    """
    root = root_of(context, storage)
    actions = Actions(root, as_json=as_json)
    if version is None:
        problems = actions.verify(None, None, None)
    else:
        folder, number = Lookup(root).resolve(version)
        problems = actions.verify(folder.name, folder.type, number)
    if problems:
        context.exit(1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@storage_option
@json_option
@click.pass_context
def gc(context: click.Context, dry_run: bool, storage: str | None, as_json: bool) -> None:
    """Remove contents that no version needs, and what killed processes left.

    \b
    Examples:
      runicorn artifacts gc --dry-run
      runicorn artifacts gc
    """
    Actions(root_of(context, storage), as_json=as_json).gc(dry_run=dry_run)
