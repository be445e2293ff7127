"""Third-party plugins for tests: modules with a real entry point, in a directory on `PYTHONPATH`."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path


class PluginDirectory:
    """A directory of plugins. `environment` makes a process find them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a process."""
        others = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": f"{self.directory}{os.pathsep}{others}" if others else str(self.directory)}

    def add(self, name: str, source: str, *, version: str = "1.0") -> None:
        """Install a plugin whose module holds `source`, as a distribution of the same name."""
        (self.directory / f"{name}.py").write_text(textwrap.dedent(source))
        # What is compiled of a module that another has just replaced, in the same second and as long, would be used.
        shutil.rmtree(self.directory / "__pycache__", ignore_errors=True)
        info = self.directory / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[runicorn.plugins]\n{name} = {name}\n")
