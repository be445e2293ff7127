"""`runicorn events undo`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runicorn.cli.events.printing import clock, json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json

if TYPE_CHECKING:
    from runicorn.history.undoing import Command

_LISTED = 20


@click.command()
@click.argument("subject", metavar="RUN|ARTIFACT")
@storage_option
@state_dir_option
@click.option("--last", is_flag=True, help="The last command that changed something; this is the default.")
@click.option("--offset", metavar="OFFSET", help="The command with an event there: OFFSET, or STREAM@OFFSET.")
@click.option("--list", "only_list", is_flag=True, help="Show the last commands, and what stands against each.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
def undo(
    subject: str,
    storage: str | None,
    state_dir: Path | None,
    last: bool,
    offset: str | None,
    only_list: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take a command on a run or an artifact back, by a command that says what was before.

    What can be taken back: into the recycle bin and out of it, tags, descriptions, archived, pinned; aliases, deletions and
    restores of versions, stages. What was changed again since is not touched, and what was removed for good is gone. An undo
    can be taken back, too.

    \b
    Examples:
      runicorn events undo 20250114_153045_a1b2c3 --list
      runicorn events undo 20250114_153045_a1b2c3 --dry-run
      runicorn events undo model/net --offset 1834
    """
    from runicorn.cli.opened_store import open_store
    from runicorn.history.subject import find_subject
    from runicorn.history.undoing import check, choose, commands

    if last + only_list + (offset is not None) > 1:
        raise click.UsageError("Give one of --last, --offset and --list.")
    with open_store(storage, state_dir) as store:
        found = find_subject(store, subject)
        if only_list:
            _list(list(islice(commands(found), _LISTED)), as_json)
            return
        command = choose(found, offset)
        check(command)
        if not dry_run:
            store.until_visible(*found.take_back(command.changes, f"Undo of {command.stream}@{command.offset}"))
    if as_json:
        _print_json({"subject": found.title, "is_undone": not dry_run, **_described(command)})
        return
    click.echo(f"{'Would undo' if dry_run else 'Undone'}, {found.title}: {_text(command.what)}")
    for line in _reversed(command):
        click.echo(f"  {line}")


def _list(found: list[Command], as_json: bool) -> None:
    if as_json:
        for command in found:
            _print_json(_described(command))
        return
    from runicorn.cli.table import show_table

    rows = [
        (
            clock(command.entries[0].ts or 0.0),
            _text(command.what),
            _text("yes" if command.why_not is None else f"no: {command.why_not}"),
            _text(f"{command.stream}@{command.offset}"),
        )
        for command in found
    ]
    show_table(["TIME", "COMMAND", "UNDO", "OFFSET"], rows)


def _described(command: Command) -> dict[str, Any]:
    from runicorn.history.entries import presentable

    return {
        "stream": command.stream,
        "offset": command.offset,
        "ts": command.entries[0].ts,
        "what": command.what,
        "why_not": command.why_not,
        "changes": [change for entry in command.entries for change in presentable(entry).changes],
    }


def _reversed(command: Command) -> list[str]:
    """What taking it back changes."""
    from runicorn.cli.history import change_text
    from runicorn.history.entries import FieldChange, presentable_value

    return [
        _text(change_text(FieldChange(it.field, presentable_value(it.after), presentable_value(it.before))))
        for it in command.changes
    ]


def _print_json(value: dict[str, Any]) -> None:

    print_json(value)


def _text(text: str) -> str:
    from runicorn.cli.table import clean

    return clean(text)
