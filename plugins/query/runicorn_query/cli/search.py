"""`runicorn search`: runs, and lines of their logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn_query.cli.options import complete_project, complete_run, json_option, store_options

if TYPE_CHECKING:
    from rich.text import Text

    from runicorn.plugin import OpenedStore
    from runicorn_query.search.hits import Hit, SearchAnswer
    from runicorn_query.search.searching import Request

_KINDS = ("name", "project", "tag", "description", "note", "id", "log")


@click.command()
@click.argument("text")
@store_options
@click.option("--project", shell_complete=complete_project, help="Only runs of this project.")
@click.option("--run", shell_complete=complete_run, help="Only this run: its id, or the beginning of it.")
@click.option("--status", "statuses", multiple=True, help="Only runs with this status. Repeatable: any of them.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only there. Repeatable: any of them.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@json_option
def search(
    text: str,
    storage: str | None,
    state_dir: Path | None,
    project: str | None,
    run: str | None,
    statuses: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Search for TEXT, in any case: in names, projects, tags, descriptions and ids of runs, and in their logs.

    Runs come first, then lines, each the newest first. Exit status 1 if nothing is found.

    \b
    Examples:
      runicorn search 'loss is nan'
      runicorn search baseline --kind name --kind tag
      runicorn search CUDA --project vision --status failed --json
    """
    from typing import cast

    from runicorn.plugin import BadInput, open_store
    from runicorn_query.cli import output, reading
    from runicorn_query.search.hits import KINDS, Kind
    from runicorn_query.search.searching import Request

    if not text.strip():
        raise BadInput("Give a text to search for.")
    with open_store(storage, state_dir) as store:
        request = Request(
            query=text,
            kinds=cast("tuple[Kind, ...]", kinds) or KINDS,
            project=project,
            statuses=statuses,
            run=None if run is None else reading.find(store, run),
            limit=limit,
        )
        if "log" in request.kinds:
            _bring_level(store)
        answer = _search(store, request)
    if as_json:
        output.show_json(answer)
    else:
        output.show(*map(_line, answer.hits))
        if answer.next is not None:
            click.echo(f"There are more than {limit}; --limit shows more.", err=True)
    if not answer.hits:
        if not as_json:
            click.echo(
                f"Nothing found{'' if answer.logs.state in ('ready', 'off') else ' so far: logs are being indexed'}.",
                err=True,
            )
        sys.exit(1)


def _bring_level(store: OpenedStore) -> None:
    """Index what was logged; where a server runs, its indexer does so."""
    import contextlib

    from runicorn.plugin import LockTimeout
    from runicorn_query.indexes import writing

    with contextlib.suppress(LockTimeout), writing(store) as indexes:
        indexes.sweep_logs()


def _search(store: OpenedStore, request: Request) -> SearchAnswer:
    """One answer with all pages that it takes."""
    import msgspec

    from runicorn_query.reader import SideFileReader
    from runicorn_query.search.index_file import index_path, open_to_read
    from runicorn_query.search.searching import search as find

    reader = SideFileReader(index_path(store.state_dir), lambda: open_to_read(store.state_dir))
    hits: list[Hit] = []
    asked = request
    try:
        while True:
            with reader.connection() as index:
                answer = store.model("runs").query(find, index, store.root, asked)
            hits += answer.hits
            if answer.next is None or len(hits) >= request.limit:
                return msgspec.structs.replace(answer, hits=hits)
            asked = msgspec.structs.replace(asked, limit=request.limit - len(hits), cursor=answer.next)
    finally:
        reader.close()


def _line(hit: Hit) -> Text:
    from rich.text import Text

    from runicorn_query.cli import output

    place = f"{hit.run_id}:{hit.line}" if hit.kind == "log" else f"{hit.run_id} {hit.kind}"
    line = Text(output.clean(place), style="cyan").append(": ", style="")
    snippet = Text(output.clean(hit.snippet), style="default")
    for start, end in hit.highlights:
        snippet.stylize("bold red", start, end)
    return line.append_text(snippet)
