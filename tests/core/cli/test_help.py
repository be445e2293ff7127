"""What every command has: help with examples that could be run, and `--storage`."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from tests.commands import commands

ALL = dict(commands())


def examples(command: click.Command) -> list[str]:
    found = re.search(r"Examples?:\n(.*?)(?:\n\n|\Z)", command.help or "", re.DOTALL)
    return [] if found is None else [line.strip() for line in found[1].strip().splitlines()]


def _words(part: str) -> list[str]:
    return shlex.split(part.partition(" > ")[0], comments=True)


def test_the_walk_reaches_commands_of_commands_and_of_plugins() -> None:
    assert {("serve",), ("viewer",), ("events", "verify"), ("remote", "check"), ("artifacts", "gc")} <= ALL.keys()


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_examples_that_the_command_line_accepts(path: tuple[str, ...]) -> None:
    shown = examples(ALL[path])
    assert shown
    for example in shown:
        (words,) = [words for part in example.split("|") if (words := _words(part))[0] == "runicorn"]
        depth = next((n for n in range(len(words) - 1, 0, -1) if tuple(words[1 : n + 1]) in ALL), 0)
        named = tuple(words[1 : depth + 1])
        assert named[: len(path)] == path or path == ("viewer",), example
        parser = ALL[named].make_parser(click.Context(ALL[named], info_name=" ".join(words[: depth + 1])))
        parser.parse_args(args=words[depth + 1 :])  # UsageError for an option that does not exist


@pytest.mark.parametrize("path", [path for path, it in ALL.items() if not isinstance(it, click.Group)], ids=" ".join)
def test_every_command_takes_a_storage_root(path: tuple[str, ...]) -> None:
    assert any("--storage" in parameter.opts for parameter in ALL[path].params)
