"""Webhooks: somebody is told when runs finish or fail, and when metrics cross thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.plugin import LocatedEvent, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def runicorn_on_events(events: Sequence[LocatedEvent], directory: Path) -> None:
    from runicorn_notify.reaction import notify

    notify(events, directory)


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_notify.cli import send_test

    return [send_test]
