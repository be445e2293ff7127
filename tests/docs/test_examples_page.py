"""docs/examples.md: its commands are run in order, and say what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.installing import install

TOP = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```console\n(.*?)^```", (TOP / "docs" / "examples.md").read_text(), re.M | re.S)


def masked(text: str) -> str:
    """Without what differs from one time to the next: ids, times, figures, and the room that they take."""
    text = re.sub(r"\d{8}_\d{6}_[0-9a-f]{6}", "RUN", text)
    return re.sub(r"[ -]+", " ", re.sub(r"\d+(?:\.\d+)?", "0", text)).strip()


def run_block(block: str, directory: Path, **environment: str) -> None:
    (directory / "examples").symlink_to(TOP / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=directory,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for line in shown.splitlines():
            assert masked(line) in map(masked, done.stdout.splitlines()), f"{command}\n{done.stdout}"


def test_the_scripts_say_what_the_page_shows(tmp_path: Path) -> None:
    run_block(BLOCKS[0], tmp_path)


@pytest.mark.slow
def test_the_plugin_answers_as_the_page_shows(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(TOP / "examples/train_numpy.py"), str(tmp_path / "my_runs"), "50"], check=True)
    run_block(BLOCKS[1], tmp_path, **install("leaderboard", tmp_path / "site"))
