"""What the commands below `runicorn artifacts` have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from runicorn.plugin import storage_root

C = TypeVar("C", bound=Callable[..., Any])

VERSION = "[TYPE/]NAME:VERSION"
"""How the argument is called that means a version."""


def json_option(command: C) -> C:
    """`--json`, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def root_of(context: click.Context, storage: str | None) -> Path:
    """The storage root: the option may stand before the command, too."""
    return storage_root(storage or context.obj)
