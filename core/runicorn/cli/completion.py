"""`runicorn completion SHELL`: the script by which a shell completes commands, options, ids and projects."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.group()
def completion() -> None:
    """Print the script that makes a shell complete `runicorn`."""


def _command(shell: str, where: str) -> click.Command:
    def show() -> None:
        from runicorn.cli import main

        kind = get_completion_class(shell)
        assert kind is not None  # click brings all three
        click.echo(kind(main, {}, "runicorn", "_RUNICORN_COMPLETE").source())

    return click.Command(shell, callback=show, help=f"For {shell}: put it into {where}.")


for _shell, _where in (
    ("bash", "~/.local/share/bash-completion/completions/runicorn"),
    ("zsh", "a file named _runicorn in a directory of $fpath"),
    ("fish", "~/.config/fish/completions/runicorn.fish"),
):
    completion.add_command(_command(_shell, _where))
