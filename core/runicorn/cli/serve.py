"""`runicorn serve`, also known as `viewer`."""

from __future__ import annotations

import click

from runicorn.cli.collector import collect_as_usual
from runicorn.cli.group import storage_option


@click.command()
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=23300, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="API processes; each counts requests by itself.",
)
@click.option("--state-dir", metavar="PATH", help="Where read models are kept (default: below the storage root).")
@click.option("--rate-limit", type=click.Choice(["on", "off"]), help="Limit requests (default: on, see rate-limit).")
@click.option("--plugins", metavar="A,B", help="Load these plugins only.")
@click.option("--without", metavar="A,B", multiple=True, help="Leave these plugins out.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged; requests are logged at info.",
)
@click.option("--allow-host", metavar="NAME", multiple=True, help="Also answer under this host name.")
@click.option("--allow-origin", metavar="ORIGIN", multiple=True, help="Also answer to web pages of this origin.")
@click.option("--trusted-proxy", metavar="ADDRESS", multiple=True, help="Believe X-Forwarded-For of this proxy.")
@click.option(
    "--as-of",
    metavar="TIME",
    help="Show the store as it was, read-only: ISO 8601 (local time without an offset), or how long ago, such as 2h.",
)
@click.option("--reload", is_flag=True, help="Restart when the source changes.")
@click.pass_context
def serve(
    context: click.Context,
    storage: str | None,
    host: str,
    port: int,
    workers: int,
    state_dir: str | None,
    rate_limit: str | None,
    plugins: str | None,
    without: tuple[str, ...],
    log_level: str,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    trusted_proxy: tuple[str, ...],
    as_of: str | None,
    reload: bool,
) -> None:
    """Serve the API of a storage root, and a front end where one is configured.

    \b
    Examples:
      runicorn serve
      runicorn serve --storage /data/runicorn --port 8000
      runicorn serve --host 0.0.0.0 --allow-host lab.example.org --workers 4
      runicorn serve --as-of 2h --port 0
    """
    import gc
    import time

    gc.disable()  # a fifth of the start; whoever serves enables it again
    collect_as_usual()

    from runicorn.config import state_directory, storage_root
    from runicorn.host import Selection
    from runicorn.moments import parse_moment
    from runicorn.server.serve import serve as run
    from runicorn.server.settings import ServeSettings

    root = storage_root(storage)
    selection = Selection.resolve(plugins, without)
    settings = ServeSettings(
        root=str(root),
        state_dir=str(state_directory(root, state_dir)),
        host=host,
        port=port,
        workers=workers,
        rate_limit=None if rate_limit is None else rate_limit == "on",
        plugins=None if selection.only is None else sorted(selection.only),
        without=sorted(selection.without),
        log_level=log_level,
        allow_hosts=list(allow_host),
        allow_origins=list(allow_origin),
        trusted_proxies=list(trusted_proxy),
        reload=reload,
        as_of=None if as_of is None else parse_moment(as_of, time.time()),
    )
    context.exit(run(settings))
