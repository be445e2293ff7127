"""`runicorn remote hosts` and `check`: the hosts of the SSH configuration, and whether they answer."""

from __future__ import annotations

import click

from runicorn.plugin import print_json, unused_storage_option


@click.command()
@unused_storage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def hosts(as_json: bool) -> None:
    """List the hosts of ~/.ssh/config, with what it says about each.

    \b
    Examples:
      runicorn remote hosts
      runicorn remote hosts --json
    """
    from runicorn_remote.ssh_config import Host, HostsFile

    file = HostsFile()
    found: list[Host] = [file.host(alias) for alias in file.aliases()]
    if as_json:
        print_json(found, indented=True)
        return
    if not found:
        click.echo("No hosts in ~/.ssh/config.")
    for host in found:
        login = f"{host.user}@{host.address}" if host.user else host.address
        click.echo(f"{host.alias}: {login}")
        if host.proxy_jump:
            click.echo(f"  through {host.proxy_jump}")
        elif host.proxy_command:
            click.echo("  through a ProxyCommand")
        for identity in host.identity_files:
            click.echo(f"  key {identity.path}{'' if identity.exists else ' (missing)'}")


@click.command()
@unused_storage_option
@click.argument("host")
@click.option(
    "--timeout", "timeout_s", default=10.0, show_default=True, type=click.FloatRange(0.1, 600), help="Seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also about failures.")
@click.pass_context
def check(context: click.Context, host: str, timeout_s: float, as_json: bool) -> None:
    """Look whether HOST, an alias of ~/.ssh/config or a host name, is an SSH server that is known.

    Shows banner and host key. Nobody logs in, and nothing is changed. Exit status 1 says that something is wrong.

    \b
    Examples:
      runicorn remote check gpu-box
      runicorn remote check gpu.example.org --timeout 3 --json
    """
    import logging

    import msgspec

    from runicorn_remote.errors import ConnectFailed, HostUnknown, RemoteError
    from runicorn_remote.host_check import check_host
    from runicorn_remote.ssh_config import HostsFile

    # Every failure becomes one line of ours; paramiko would print each of them, with a traceback.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    name = host.rpartition("@")[2].strip().removeprefix("[").removesuffix("]")
    try:
        if not name:
            raise HostUnknown(repr(host))
        report = check_host(HostsFile().host(name), timeout_s=timeout_s)
    except RemoteError as error:
        if not as_json and isinstance(error, ConnectFailed):
            raise click.ClickException(error.for_people) from error
        if not as_json:
            raise
        print_json({"ok": False, "alias": host, "code": error.code, "detail": str(error)})
        context.exit(1)
    if as_json:
        print_json({"ok": True, **msgspec.to_builtins(report)})
        return
    click.echo(f"{report.alias} ({report.hostname}:{report.port}) answers: {report.banner}")
    click.echo(f"  host key {report.key_type} {report.fingerprint}")
    if report.is_known:
        click.echo("  known: ~/.ssh/known_hosts has this key")
    else:
        click.echo(
            "  unknown: ~/.ssh/known_hosts has no key of this host; compare it with what the server's owner says"
        )
