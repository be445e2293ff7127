"""The example plugins, installed by pip into a directory of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

PIP = (
    sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile",
)  # fmt: skip
"""Installs what needs nothing else than is here."""


def install(plugin: str, target: Path) -> dict[str, str]:
    """Install an example into `target`; the environment of a process that sees it."""
    subprocess.run(
        [*PIP, "--target", str(target), str(EXAMPLES / plugin)], check=True, capture_output=True, timeout=100
    )
    return {"PYTHONPATH": str(target)}
