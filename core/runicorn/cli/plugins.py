"""`runicorn plugins`: what is installed, in which state, and what each contributes; `new` makes one, `clean` cleans up."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from runicorn.cli.group import LazyGroup, storage_option
from runicorn.cli.json_output import print_json
from runicorn.host import Plugin, PluginHost, Selection


class PluginReport(msgspec.Struct):
    """One plugin, as `runicorn plugins --json` prints it."""

    name: str
    version: str
    distribution: str
    state: str
    error: str | None
    event_types: list[str] = []
    projections: list[str] = []
    """`name` and version, such as `runs 3`."""
    routes: list[str] = []
    """`METHOD /path`."""
    sources: list[str] = []
    commands: list[str] = []


PLUGINS_COMMANDS = {"clean": "runicorn.cli.clean_plugins:clean", "new": "runicorn.cli.new_plugin:new"}


@click.group(cls=LazyGroup, where=PLUGINS_COMMANDS, invoke_without_command=True)
@click.pass_context
@storage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plugins", "only", metavar="A,B", help="As with serve.")
@click.option("--without", metavar="A,B", multiple=True, help="As with serve.")
def plugins(
    context: click.Context, storage: str | None, as_json: bool, only: str | None, without: tuple[str, ...]
) -> None:
    """List plugins: version, state, and what they contribute.

    \b
    Examples:
      runicorn plugins
      runicorn plugins --json
      runicorn plugins new slack-alerts
      runicorn plugins clean --dry-run
    """
    if context.invoked_subcommand is not None:
        return
    import logging

    from runicorn.config import storage_root

    if not as_json:
        logging.disable(logging.CRITICAL)  # the list itself says what is wrong
    host = PluginHost.load(Selection.resolve(only, without))
    reports = describe(host, storage_root(storage))
    if as_json:
        print_json(reports, indented=True)
        return
    for report in reports:
        click.echo(f"{report.name} {report.version} ({report.distribution}): {report.state}")
        if report.error:
            click.echo(f"  {report.error}")
        for what in ("event_types", "projections", "routes", "sources", "commands"):
            items: list[str] = getattr(report, what)
            if items:
                click.echo(f"  {what.replace('_', ' ')}: {', '.join(items)}")


def describe(host: PluginHost, root: Path) -> list[PluginReport]:
    """All plugins of a host. Asking them for their contributions may disable some."""
    reports = {
        plugin.name: PluginReport(plugin.name, plugin.version, plugin.distribution, plugin.state, plugin.error)
        for plugin in host.plugins
    }
    for plugin, types in host.collect("event_types"):
        reports[plugin.name].event_types = sorted(payload.event_type for payload in types)
    for plugin, projections in host.collect("projections"):
        reports[plugin.name].projections = [f"{item.name} {item.version}" for item in projections]
    for plugin, sources in host.collect("sources", root=root):
        reports[plugin.name].sources = [source.name for source in sources]
    for plugin, commands in host.collect("commands"):
        reports[plugin.name].commands = [str(command.name) for command in commands]
    for plugin, routes in _routes(host):
        reports[plugin.name].routes = routes
    for plugin in host.plugins:
        reports[plugin.name].state, reports[plugin.name].error = plugin.state, plugin.error
    return list(reports.values())


def _routes(host: PluginHost) -> list[tuple[Plugin, list[str]]]:
    from runicorn.server.app import plugin_routers
    from runicorn.server.routing import endpoints

    return [
        (plugin, [f"{endpoint.method} {endpoint.template}" for endpoint in endpoints(router)])
        for plugin, router in plugin_routers(host)
    ]
