"""`runicorn history`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.printing import clock, json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json

if TYPE_CHECKING:
    from runicorn.history.entries import FieldChange, HistoryEntry

_AT_ONCE = 500
_WAYS = {"cli": "command line", "sdk": "SDK", "http": "over HTTP"}


@click.command()
@click.argument("subject", metavar="RUN|ARTIFACT")
@storage_option
@state_dir_option
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@click.option("--type", "types", multiple=True, help="Only this event type, such as run.tagged. Repeatable.")
@click.option("--oldest-first", is_flag=True, help="From the beginning on.")
@json_option
def history(
    subject: str,
    storage: str | None,
    state_dir: Path | None,
    limit: int,
    types: tuple[str, ...],
    oldest_first: bool,
    as_json: bool,
) -> None:
    """Show what happened to a run or an artifact, the newest first: when, who, and what changed.

    RUN is an id, the beginning of one, or a path below the storage root; ARTIFACT is NAME or TYPE/NAME. Metric points and
    images are not listed.

    \b
    Examples:
      runicorn history 20250114_153045_a1b2c3
      runicorn history model/net --type artifact.aliased
      runicorn history 20250114_15 --json | jq .changes
    """

    from runicorn.cli.opened_store import open_store
    from runicorn.history.entries import presentable
    from runicorn.history.paging import HistoryWanted
    from runicorn.history.subject import find_subject

    with open_store(storage, state_dir) as store:
        found = find_subject(store, subject)
        wanted = HistoryWanted(min(limit, _AT_ONCE), newest_first=not oldest_first, types=frozenset(types))
        entries: list[HistoryEntry] = []
        while True:
            page = found.page(wanted)
            entries += map(presentable, page.entries)
            if page.next is None or len(entries) >= limit:
                break
            wanted = wanted._replace(after=page.next, limit=min(limit - len(entries), _AT_ONCE))
    if as_json:
        for entry in entries:
            print_json(entry)
        return
    _show(entries)
    if page.next is not None:
        click.echo("There is more: --limit shows it.", err=True)


def _show(entries: list[HistoryEntry]) -> None:
    from runicorn.cli.table import clean, show_table

    rows = [
        (
            "–" if entry.ts is None else clock(entry.ts),
            clean(entry.what),
            clean(_who(entry)),
            f"{clean(entry.stream)}@{entry.offset}",
            clean("; ".join(map(change_text, entry.changes))),
        )
        for entry in entries
    ]
    show_table(["TIME", "WHAT", "WHO", "EVENT", "CHANGES"], rows)


def change_text(change: FieldChange) -> str:
    """`status: running → finished`."""
    before = json.dumps(change.before, ensure_ascii=False) if change.is_before_known else "?"
    return f"{change.field}: {before} → {json.dumps(change.after, ensure_ascii=False)}"


def _who(entry: HistoryEntry) -> str:
    who = entry.who
    if who is None:
        return entry.origin
    process = None if who.pid is None else f"pid {who.pid}"
    run = None if who.run_id is None else f"run {who.run_id}"
    way = None if who.way is None else _WAYS.get(who.way, who.way)
    return ", ".join(part for part in (who.host, process, who.user, run, who.source, way) if part)
