"""Every command that takes `--storage`, with a file in the place of the root: exit 1 and one line that says so."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.commands import commands, runicorn
from tests.stores import make_run

MINIMAL = {
    "artifacts": ["--action", "list"],
    "artifacts log": ["file", "--name", "net"],
    "artifacts promote": ["net:v1", "production"],
    "events import": ["file"],
    "import": ["--archive", "file"],
    "manage": ["--action", "search"],
    "remote push": ["a", "ssh://u@127.0.0.1:1/x"],
    "serve": ["--port", "0"],
    "viewer": ["--port", "0"],
}
"""Arguments of commands that need other ones than a word for each that is required."""


def minimal(name: str, command: click.Command) -> list[str]:
    if name in MINIMAL:
        return MINIMAL[name]
    needed = [parameter for parameter in command.params if parameter.required]
    return [word for parameter in needed for word in (*_option(parameter), "x")]


def _option(parameter: click.Parameter) -> list[str]:
    return parameter.opts[:1] if isinstance(parameter, click.Option) else []


COMMANDS = {
    name: minimal(name, command)
    for name, command in ((" ".join(path), command) for path, command in commands())
    if any(parameter.name == "storage" for parameter in command.params) and name != "doctor"
}
"""All but the one that says in its own words what is wrong with a root; see `test_doctor.py`."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_in_the_place_of_the_root_is_one_line_and_exit_1(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n")
    done = runicorn(*name.split(), *COMMANDS[name], "--storage", "file", directory=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stdout + done.stderr
    assert "file" in done.stderr
    assert (tmp_path / "file").read_text() == "x\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_commands_were_found() -> None:
    assert {"export", "import", "events verify", "artifacts diff", "remote sync", "runs", "serve"} <= set(COMMANDS)


@pytest.mark.parametrize("name", ["demo", "remote sync"])
def test_a_root_that_cannot_be_made_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n")
    command = [sys.executable, "-m", "runicorn", *name.split(), *COMMANDS[name], "--storage", "file/root"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert "cannot be created" in done.stderr


def test_an_export_on_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    for number in range(3):
        make_run(tmp_path / "root", f"p/n/runs/{number}", meta={})
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "runicorn", "export", "--storage", "root", "--out", "all.tgz"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b"".join(_until_closed(ours))
        assert process.wait(60) == 0
    os.close(ours)
    assert b"Exporting" in said
    assert b"3/3" in said
    assert (tmp_path / "all.tgz").exists()


def _until_closed(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # what a terminal answers when nobody writes to it any more
            return
        if not data:
            return
        yield data
