"""The group of all commands: the core's by name, the plugins' by their hook."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from runicorn.cli.collector import collect_rarely
from runicorn.cli.table import clean
from runicorn.errors import RunicornError
from runicorn.version import __version__

C = TypeVar("C", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command failed: its text goes to standard error, the exit status is 1."""

    def show(self, file: Any = None) -> None:
        """Print the text alone."""
        lines = self.format_message().split("\n")
        click.echo("\n".join(map(clean, lines)), file=file, err=file is None)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called. `where` maps names to `module:attribute`."""

    def __init__(self, name: str, where: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._where = where

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        where = self._where.get(cmd_name)
        return None if where is None else _imported(where)


class Commands(click.Group):
    """`runicorn`. `core` maps names to `module:attribute`."""

    def __init__(self, core: Mapping[str, str]) -> None:
        super().__init__(
            "runicorn",
            help="Local-first experiment tracking.",
            invoke_without_command=True,
            callback=_usage,
            params=[
                click.Option(
                    ["--version"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=_version,
                    help="Show the version.",
                )
            ],
        )
        self._core = core
        self._contributed: dict[str, click.Command] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command in a process of its own, and end that."""
        collect_rarely()
        return super().__call__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands; imports the plugins."""
        return sorted({*self._core, *self.contributed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name. A core command does not import the plugins."""
        where = self._core.get(cmd_name)
        if where is None:
            return self.contributed().get(cmd_name)
        return _imported(where)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program."""
        _open_standard_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments, which may import plugins (`--help` names their commands)."""
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from runicorn.events.actor import acting

        with _one_line(), acting("cli"):
            return super().invoke(ctx)

    def contributed(self) -> dict[str, click.Command]:
        """The plugins' commands by name. PluginCollision if a name is taken twice."""
        if self._contributed is None:
            from runicorn.host import PluginHost, Selection, claim

            owners = dict.fromkeys(self._core, "runicorn")
            self._contributed = {}
            for plugin, commands in PluginHost.load(Selection.resolve()).collect("commands"):
                for command in commands:
                    claim(owners, command.name or "", plugin.name, "command")
                    self._contributed[command.name or ""] = command
        return self._contributed


def storage_option(command: C) -> C:
    """`--storage PATH`, which every command accepts: a directory, or nothing yet."""
    help = "Storage root (default: as configured)."
    return click.option("--storage", metavar="PATH", callback=_directory, help=help)(command)


def unused_storage_option(command: C) -> C:
    """`--storage PATH` for a command that needs no storage root: scripts may give the option to every command alike."""
    help = "Accepted as by every command; this one needs no storage root."
    return click.option("--storage", metavar="PATH", callback=_directory, expose_value=False, help=help)(command)


def state_dir_option(command: C) -> C:
    """`--state-dir PATH`, for commands that read or build read models."""
    where = "State directory (default: .runicorn/state in the storage root)."
    return click.option("--state-dir", metavar="PATH", type=click.Path(path_type=Path), help=where)(command)


def _directory(ctx: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    # A file would look like a store without runs to a command that only reads.
    if path and os.path.exists(where := os.path.expanduser(path)) and not os.path.isdir(where):
        raise Failure(f"The storage root {path} is not a directory.")
    return path


def _imported(where: str) -> click.Command:
    module, _, attribute = where.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


@contextlib.contextmanager
def _one_line() -> Generator[None]:
    """Errors that users see become one line and exit status 1."""
    try:
        yield
    except RunicornError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # click ends quietly: whoever read our output has enough
        _give_up_output()
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        raise Failure(f"{where}{error.strerror or error}") from error


def _open_standard_streams() -> None:
    """Give a program that was started without an output or input (`>&-`) one that leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it stays open as long as the process


def _give_up_output() -> None:
    """What cannot be written (a full disk) must not become a message at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage() -> None:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"runicorn {__version__}")
        ctx.exit()
