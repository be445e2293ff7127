"""The projector process beside the server. Where another server has one already, this one reads only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runicorn.server.child_process import ChildProcess


class ProjectorProcess(ChildProcess):
    """The projector of one state directory."""

    def __init__(self, root: Path, state_dir: Path, arguments: Sequence[str] = ()) -> None:
        where = ["--root", str(root), "--state-dir", str(state_dir)]
        super().__init__("projector", "runicorn.projection", [*where, *arguments])
