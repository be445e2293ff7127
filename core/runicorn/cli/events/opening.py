"""The log that a command looks into, and which of its streams and events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.table import clean

if TYPE_CHECKING:
    from runicorn.events.log import FileLog, LocatedEvent, Stream


def open_log(storage: str | None, state_dir: Path | None) -> FileLog:
    """The log of a store. ClickException if there is none."""
    from runicorn.config import state_directory, storage_root
    from runicorn.events.log import FileLog
    from runicorn.root import check_belongs

    root = storage_root(storage)
    if not root.is_dir():
        raise click.ClickException(f"There is no storage root at {root}. Name one with --storage.")
    state = state_directory(root, state_dir)
    check_belongs(root, state)
    return FileLog(root, state)


def is_chosen(name: str, chosen: Sequence[str]) -> bool:
    """Whether a stream is named by `chosen`: by its name, or by the last part of it. All are, where nothing is chosen."""
    return not chosen or any(name == choice or name.rpartition("/")[2] == choice for choice in chosen)


def of_types(types: Sequence[str]) -> Callable[[LocatedEvent], bool]:
    """A test for events of these types; all pass where there are none."""
    wanted = frozenset(types)
    return lambda located: not wanted or located.event.type in wanted


def read_from(log: FileLog, stream: Stream, offset: int) -> Iterator[LocatedEvent]:
    """The events of a stream whose lines begin at or behind `offset`; about a MiB of it is in memory.

    Where it cannot be read (any more), that is said on standard error.
    """
    from runicorn.events.log import LocatedEvent, StreamReplaced

    try:
        after = log.line_start(stream, offset)
        while (lines := log.read(stream, after=after)).end > after:
            for start, event in zip(lines.offsets, lines.events, strict=True):
                yield LocatedEvent(stream, start, event)
            after = lines.end
    except (OSError, StreamReplaced) as error:
        reason = getattr(error, "strerror", None) or "it was replaced meanwhile"
        click.echo(clean(f"{stream.name} cannot be read further: {reason}"), err=True)
