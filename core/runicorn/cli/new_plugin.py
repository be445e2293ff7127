"""`runicorn plugins new`: a plugin to begin with, whose tests pass."""

from __future__ import annotations

import keyword
import re
import tempfile
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from runicorn.cli.group import unused_storage_option

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
_SUFFIX = ".txt"  # so that no tool takes the templates for code of this project


@click.command("new")
@unused_storage_option
@click.argument("name")
@click.option(
    "--into",
    "parent",
    default=".",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its directory is made (default: here).",
)
def new(name: str, parent: Path) -> None:
    """Make a plugin: a projection, a route, a command, and tests that pass.

    \b
    Examples:
      runicorn plugins new endings
      runicorn plugins new slack-alerts --into ~/src
    """
    from runicorn.cli import CORE_COMMANDS
    from runicorn.host import PluginHost, Selection

    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise click.UsageError(
            f"{name!r} is no name for a plugin: lower-case letters, digits and single hyphens, at most {_LONGEST},"
            " such as slack-alerts."
        )
    taken = {*CORE_COMMANDS, *(plugin.name for plugin in PluginHost.load(Selection.resolve()).plugins)}
    if name in taken or keyword.iskeyword(name):
        raise click.UsageError(f"The name {name} is taken; `runicorn plugins` lists those that are installed.")
    distribution = f"runicorn-{name}"
    target = parent / distribution
    if target.exists():
        raise click.ClickException(f"{target} exists already. Nothing was changed.")
    try:
        _write(target, {"name": name, "package": distribution.replace("-", "_"), "distribution": distribution})
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from None
    click.echo(f"Made {target}. Next:\n  cd {target}\n  pip install -e '.[test]'\n  pytest")


def _write(target: Path, names: dict[str, str]) -> None:
    """All of it, or nothing."""
    from runicorn.version import __version__

    values = {**names, "version": __version__}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as staging:
        made = Path(staging) / target.name
        _render(files("runicorn.cli") / "plugin_template", made, values)
        (made / "package").rename(made / names["package"])
        made.rename(target)


def _render(template: Traversable, target: Path, values: dict[str, str]) -> None:
    target.mkdir()
    for entry in template.iterdir():
        if entry.is_dir():
            _render(entry, target / entry.name, values)
        elif entry.name.endswith(_SUFFIX):
            text = Template(entry.read_text("utf-8")).substitute(values)
            (target / entry.name.removesuffix(_SUFFIX)).write_text(text, "utf-8")
