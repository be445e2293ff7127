"""`runicorn completion SHELL`: the script by which a shell completes commands, options, ids and projects."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runicorn.cli.group import unused_storage_option


@click.group()
def completion() -> None:
    """Print the script that makes a shell complete `runicorn`.

    \b
    Examples:
      runicorn completion bash > ~/.local/share/bash-completion/completions/runicorn
      runicorn completion zsh > ~/.zfunc/_runicorn
      runicorn completion fish > ~/.config/fish/completions/runicorn.fish
    """


def _command(shell: str, file: str, elsewhere: str) -> click.Command:
    def show() -> None:
        from runicorn.cli import main

        kind = get_completion_class(shell)
        assert kind is not None  # click brings all three
        click.echo(kind(main, {}, "runicorn", "_RUNICORN_COMPLETE").source())

    examples = f"\b\nExamples:\n  runicorn completion {shell} > {file}"
    command = click.Command(shell, callback=show, help=f"For {shell}: put it into {file}{elsewhere}.\n\n{examples}")
    return unused_storage_option(command)


for _shell, _file, _else in (
    ("bash", "~/.local/share/bash-completion/completions/runicorn", ""),
    ("zsh", "~/.zfunc/_runicorn", " or another directory of $fpath"),
    ("fish", "~/.config/fish/completions/runicorn.fish", ""),
):
    completion.add_command(_command(_shell, _file, _else))
