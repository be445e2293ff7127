"""Every action and every command of `runicorn artifacts` prints JSON if asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from runicorn.artifacts import ArtifactStorage
from runicorn_artifacts.cli import artifacts
from runicorn_artifacts.commands import COMMANDS
from tests.plugins.artifacts.conftest import Make, Save

V1 = ("--name", "net", "--version", "1")
ACTIONS: dict[str, tuple[str, ...]] = {
    "list": (), "versions": ("--name", "net"), "info": V1, "delete": (*V1, "--yes"), "stats": (), "restore": V1,
    "verify": (), "gc": (),
}  # fmt: skip
OF_COMMANDS: dict[str, tuple[str, ...]] = {
    "log": ("FILE", "--name", "other"), "download": ("net:v1", "--to", "TARGET"), "alias": ("net:v1", "best"),
    "promote": ("net:v1", "staging"), "restore": ("net:v1",), "verify": (), "gc": (), "diff": ("net:v1", "net:v2"),
    "lineage": ("net:v1",), "impact": ("net:v1",), "provenance": ("net:v1",),
}  # fmt: skip
CASES = [
    *(("--action", name, *arguments) for name, arguments in ACTIONS.items()),
    *((name, *arguments) for name, arguments in OF_COMMANDS.items()),
]


def test_all_of_them_are_asked() -> None:
    [action] = [parameter for parameter in artifacts.params if parameter.name == "action"]
    assert isinstance(action.type, click.Choice)
    assert set(action.type.choices) == set(ACTIONS)
    assert set(COMMANDS) == set(OF_COMMANDS)


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_the_answer_is_json_and_nothing_else(
    root: Path, storage: ArtifactStorage, save: Save, make: Make, tmp_path: Path, words: tuple[str, ...]
) -> None:
    save("one"), save("two")
    given = {"FILE": str(make("a.txt")), "TARGET": str(tmp_path / "target")}
    arguments = [given.get(word, word) for word in words]
    done = CliRunner().invoke(artifacts, [*arguments, "--storage", str(root), "--json"])
    assert (done.exit_code, done.exception) == (0, None), done.output
    answer: Any = json.loads(done.stdout)
    assert isinstance(answer, (dict, list))
