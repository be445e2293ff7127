"""The example `notify` is complete: its own tests pass where it is installed with pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.installing import EXAMPLES, install


@pytest.mark.slow(30)
def test_its_own_tests_pass(tmp_path: Path) -> None:
    environment = {**os.environ, **install("notify", tmp_path / "site")}
    pytest_command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(tmp_path / "tests"),
    ]
    done = subprocess.run(
        pytest_command, cwd=EXAMPLES / "notify", env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-4000:]
