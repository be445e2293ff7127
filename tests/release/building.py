"""What is published, built as it is published: wheels and source distributions, without the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def build(project: Path, directory: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution of a project, built in `directory` from a copy of what belongs to it."""
    source = directory / f"{project.name}-source"
    shutil.copytree(project, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist"))
    built = directory / f"{project.name}-built"
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(built)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    (archive,) = built.glob("*.tar.gz")
    return wheel, archive
