"""Runicorn's `remote` plugin: machines that are reached by SSH."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runicorn.plugin import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def runicorn_commands() -> Sequence[click.Command]:
    from runicorn_remote.cli import remote

    return [remote]
