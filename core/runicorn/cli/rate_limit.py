"""`runicorn rate-limit`: edits `rate_limits.json` in the user's configuration directory."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from runicorn.cli.group import Failure, storage_option
from runicorn.cli.json_output import print_json
from runicorn.errors import BadInput
from runicorn.host import PluginHost, Selection
from runicorn.server.rate_limit_table import (
    CORE_LIMITS,
    Limit,
    LimitFile,
    LimitTable,
    check_endpoint,
    decode_limit_file,
    limit_file_path,
    load_limit_file,
)
from runicorn.user_config import change_json

_RESTART = "It takes effect when the server is started again."


class Options(msgspec.Struct):
    """What was given on the command line."""

    endpoint: str | None
    max_requests: int | None
    window: int
    burst: int | None
    description: str
    enable: bool | None
    log_violations: bool | None
    whitelist_localhost: bool | None


@click.command("rate-limit")
@storage_option
@click.option(
    "--action",
    type=click.Choice(["show", "list", "get", "set", "remove", "settings", "reset", "validate"]),
    default="show",
    show_default=True,
)
@click.option("--endpoint", metavar="[METHOD ]/PATH", help="A route, with everything below it.")
@click.option("--max-requests", type=int, help="Requests per window and client.")
@click.option("--window", type=int, default=60, show_default=True, help="Seconds.")
@click.option("--burst", type=int, help="Requests within any one second.")
@click.option("--description", default="")
@click.option("--enable/--disable", default=None, help="Limit requests at all.")
@click.option("--log-violations/--no-log-violations", default=None)
@click.option("--whitelist-localhost/--no-whitelist-localhost", default=None)
def rate_limit(storage: str | None, action: str, **given: Any) -> None:
    """Show or change how many requests a client may make.

    `show`, `list` and `get` tell what holds; the other actions change the file, which the server reads at its start.

    \b
    Examples:
      runicorn rate-limit
      runicorn rate-limit --action get --endpoint /api/runs
      runicorn rate-limit --action set --endpoint "GET /api/runs" --max-requests 600 --burst 50
      runicorn rate-limit --action settings --whitelist-localhost
    """
    del storage  # accepted by every command; limits belong to the user
    _ACTIONS[action](Options(**given))


def _show(_: Options) -> None:
    print_json(_table().effective(), indented=True)


def _list(_: Options) -> None:
    limits = _table().effective()
    for key, limit in [("(default)", limits.default), *sorted(limits.endpoints.items())]:
        click.echo(f"{key}: {_words(limit)}")


def _get(options: Options) -> None:
    try:
        limits = _table().limits_of(check_endpoint(_required(options.endpoint)))
    except ValueError as error:
        raise Failure(str(error)) from error
    for key, limit in limits.items():
        click.echo(f"{key}: {_words(limit)}")


def _table() -> LimitTable:
    """What a server with the configured plugins would apply."""
    contributed = PluginHost.load(Selection.resolve()).collect("rate_limits")
    built_in = {
        key: count for limits in (CORE_LIMITS, *(of_one for _, of_one in contributed)) for key, count in limits.items()
    }
    return LimitTable(load_limit_file(), built_in)


def _set(options: Options) -> None:
    key = _required(options.endpoint)
    if options.max_requests is None:
        raise Failure("--max-requests is required")
    try:
        check_endpoint(key)
        limit = Limit(
            max_requests=options.max_requests,
            window_seconds=options.window,
            burst_size=options.burst,
            description=options.description,
        )
    except ValueError as error:
        raise Failure(str(error)) from error
    _change(lambda content: content["endpoints"].update({key: msgspec.to_builtins(limit)}))
    click.echo(f"Set {key}: {_words(limit)}. {_RESTART}")


def _remove(options: Options) -> None:
    key = _required(options.endpoint)
    if key not in load_limit_file().endpoints:
        raise Failure(f"No limit is set for {key}")
    _change(lambda content: content["endpoints"].pop(key, None))
    click.echo(f"Removed {key}. {_RESTART}")


def _settings(options: Options) -> None:
    changes = {
        "enable_rate_limiting": options.enable,
        "log_violations": options.log_violations,
        "whitelist_localhost": options.whitelist_localhost,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        _change(lambda content: content["settings"].update(given))
        click.echo(f"Saved. {_RESTART}")
    settings = load_limit_file().settings
    for name in changes:
        click.echo(f"{name}: {str(getattr(settings, name)).lower()}")


def _reset(_: Options) -> None:
    if not click.confirm("Reset all rate limits to the built-in ones?", default=False):
        click.echo("Nothing was changed.")
        return
    _save(lambda content: (content.clear(), content.update(msgspec.to_builtins(LimitFile()))))
    click.echo(f"The built-in limits are back. {_RESTART}")


def _validate(_: Options) -> None:
    try:
        decode_limit_file(limit_file_path().read_bytes())
    except FileNotFoundError:
        pass  # the built-in limits are
    except (OSError, BadInput) as error:
        raise Failure(f"✗ Configuration error: {error}") from error
    click.echo("✓ Configuration is valid")


_ACTIONS = {
    "show": _show,
    "list": _list,
    "get": _get,
    "set": _set,
    "remove": _remove,
    "settings": _settings,
    "reset": _reset,
    "validate": _validate,
}


def _change(edit: Any) -> None:
    """Change a valid file, with the defaults of everything that it leaves out. Failure if it is broken."""

    def complete(content: dict[str, Any]) -> None:
        try:
            file = decode_limit_file(msgspec.json.encode(content))
        except BadInput as error:
            raise Failure(
                f"✗ Configuration error: {error}. Correct rate_limits.json, or use --action reset."
            ) from error
        content.update(msgspec.to_builtins(file))
        edit(content)

    _save(complete)


def _save(change: Any) -> None:
    change_json(limit_file_path(), change)


def _required(endpoint: str | None) -> str:
    if not endpoint:
        raise Failure("--endpoint is required")
    return endpoint


def _words(limit: Limit) -> str:
    burst = f", at most {limit.burst_size} within a second" if limit.burst_size else ""
    note = f" ({limit.description})" if limit.description else ""
    return f"{limit.max_requests} requests per {limit.window_seconds} s{burst}{note}"
