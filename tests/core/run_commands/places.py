"""A storage root without a server: commands on its runs, its log, and a projector driven by hand."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runicorn.events.envelope import decode_data
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.run_commands.purging import Purged, purge
from runicorn.run_commands.recycling import Failures, RunPlace, put_into_bin, take_out
from tests.projecting import InProcess

_DIES = """
import os, signal, sys
from pathlib import Path
from runicorn.events.store import recorder_of
from runicorn.run_commands.purging import purge
from runicorn.run_commands.recycling import RunPlace, take_out

root, when = Path(sys.argv[1]), sys.argv[2]
record = recorder_of(root)

def dies(*payloads):
    if when == "after":
        record(*payloads)
    os.kill(os.getpid(), signal.SIGKILL)

COMMAND(root, [RunPlace("p/n/runs/a", "a")], dies)
"""


def kill_within(root: Path, command: str, when: str) -> None:
    """Have a process run `purge` or `take_out` on the run `a`, and die "before" or "after" it has told the log."""
    source = _DIES.replace("COMMAND", command)
    ended = subprocess.run([sys.executable, "-c", source, str(root), when], check=False)
    assert ended.returncode == -signal.SIGKILL


class Place:
    """One root, in which runs are named by their keys."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        self.log = FileLog(self.root, directory / "state")
        self.record = StoreStream(self.log).append
        self.projector = InProcess(self.root, directory / "state")

    def delete(self, *keys: str, reason: str = "user_deleted") -> Failures:
        return put_into_bin(self.root, places(keys), self.record, reason=reason)

    def restore(self, *keys: str) -> Failures:
        return take_out(self.root, places(keys), self.record)

    def purge(self, *keys: str) -> Purged:
        return purge(self.root, places(keys), self.record)

    def events(self) -> Iterator[dict[str, Any]]:
        """What commands have recorded, oldest first."""
        for stream in self.log.store_streams():
            for event in self.log.read(stream).events:
                if event.type != "run.observed":
                    yield {"ts": event.ts, "type": event.type, **decode_data(event)}

    def rows(self, *, look: bool = True) -> dict[str, dict[str, Any]]:
        """The rows of `run` that the projector makes of the log; `look`: of the directories, too."""
        if look:
            self.projector.sweep()
        for stream in self.log.store_streams():
            self.projector.projector.apply_now(stream)
        columns = ("key", "listed", "deleted_at", "delete_reason", "original_status", "tags", "pinned", "status")
        rows = self.projector.db.execute(f"SELECT {', '.join(columns)} FROM run").fetchall()
        return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}  # type: ignore[misc]  # as many as the query gives


def places(keys: tuple[str, ...]) -> list[RunPlace]:
    return [RunPlace(key, key.rpartition("/")[2]) for key in keys]
