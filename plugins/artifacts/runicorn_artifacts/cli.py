"""`runicorn artifacts`: the artifacts of a storage root on the command line, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runicorn.plugin import storage_option

if TYPE_CHECKING:
    from runicorn_artifacts.actions import Actions

_ACTIONS = ("list", "versions", "info", "delete", "stats", "restore", "verify", "gc")


class ArtifactCommands(click.Group):
    """The commands of `runicorn artifacts`, imported only when they are needed; their errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        from runicorn_artifacts.commands import COMMANDS

        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        from runicorn_artifacts.commands import COMMANDS

        return COMMANDS.get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run an action or a command."""
        from runicorn.plugin import RunicornError, clean

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has enough: click says nothing then
        except (RunicornError, OSError, ValueError, TypeError) as error:
            click.echo(clean(f"Error: {error}"), err=True)
            ctx.exit(1)


@click.group(cls=ArtifactCommands, invoke_without_command=True)
@click.option("--action", type=click.Choice(_ACTIONS), help="What to do; or give a command.")
@storage_option
@click.option("--name", help="Name of the artifact.")
@click.option("--type", "type", help="Its type, where several have the name.")
@click.option("--version", type=int, help="Number of the version.")
@click.option("--permanent", is_flag=True, help="delete: for good, instead of marking the version as deleted.")
@click.option("--yes", is_flag=True, help="delete: do not ask.")
@click.option("--include-deleted", is_flag=True, help="list, versions, stats: deleted versions, too.")
@click.option("--dry-run", is_flag=True, help="gc: only tell what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def artifacts(
    context: click.Context,
    action: str | None,
    storage: str | None,
    name: str | None,
    type: str | None,
    version: int | None,
    permanent: bool,
    yes: bool,
    include_deleted: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Versioned models, datasets and files: an action with --action, or one of the commands below.

    \b
    list, versions, info, stats   show what there is
    delete                        a version: --name, --version
    restore, verify, gc           as the commands of these names

    \b
    Examples:
      runicorn artifacts --action list
      runicorn artifacts --action versions --name net
      runicorn artifacts diff net:v1 net:v2
      runicorn artifacts verify
      runicorn artifacts gc --dry-run
    """
    if context.invoked_subcommand is not None:
        if action is not None:
            raise click.UsageError(f"Give either --action or the command '{context.invoked_subcommand}'.")
        context.obj = storage
        return
    if action is None:
        raise click.UsageError("Missing option '--action', or a command.")
    from runicorn.plugin import storage_root
    from runicorn_artifacts.actions import Actions

    actions = Actions(storage_root(storage), as_json=as_json)
    match action:
        case "list":
            actions.list_artifacts(type, include_deleted)
        case "stats":
            actions.stats(include_deleted)
        case "verify":
            if actions.verify(name, type, version):
                context.exit(1)
        case "gc":
            actions.gc(dry_run=dry_run)
        case "versions":
            if name is None:
                raise ValueError("--name is required for 'versions' action")
            actions.list_versions(name, type, include_deleted)
        case _:
            if name is None or version is None:
                raise ValueError(f"--name and --version are required for '{action}' action")
            _of_version(actions, action, name, type, version, permanent=permanent, yes=yes)


def _of_version(
    actions: Actions, action: str, name: str, type: str | None, version: int, *, permanent: bool, yes: bool
) -> None:
    folder = actions.find(name, type, version)
    if action == "info":
        actions.info(folder, version)
    elif action == "restore":
        actions.restore(folder, version)
    elif yes or _is_confirmed(f"Delete {name}:v{version}? [y/N] "):
        actions.delete(folder, version, permanent=permanent)
    else:
        click.echo("Cancelled.")


def _is_confirmed(question: str) -> bool:
    try:
        return input(question).strip() in ("y", "Y")
    except EOFError:
        click.echo()
        return False
