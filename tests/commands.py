"""Commands in the process of the test: most of what a command does needs no process of its own, which takes longer to start.

What somebody beside it sees, signals, pipes, terminals, the environment and what is logged is asked of real processes; so is
every command in the documentation.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from runicorn.cli import main


def runicorn(
    *arguments: str | Path, directory: Path | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """What `runicorn …` prints, and its status, as of a process; `typed` is its standard input."""
    words = [os.fspath(argument) for argument in arguments]
    with contextlib.chdir(directory) if directory is not None else contextlib.nullcontext():
        result = CliRunner().invoke(main, words, input=typed, prog_name="runicorn")
    error = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        error += "".join(traceback.format_exception(result.exception))
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout_bytes.decode(), error)


def commands(
    group: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands of all plugins and the groups that they are in, by the words that call them."""
    if path:
        yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))
