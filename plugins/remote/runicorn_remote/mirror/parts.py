"""What a mirror task keeps while connections come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runicorn_remote.connection import Connection
from runicorn_remote.mirror.choosing import Choosing
from runicorn_remote.mirror.claims import Claims
from runicorn_remote.mirror.failures import Failures
from runicorn_remote.mirror.lane import Lane
from runicorn_remote.mirror.origins import Record
from runicorn_remote.mirror.progress import MirrorStats
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.state import MirrorState


class Parts:
    """One remote root and its copy here: what is known of both, and what was counted."""

    def __init__(
        self, connection: Connection, source: RemoteSource, root: Path, record: Record, started: float
    ) -> None:
        """MirrorBusy if another process has the copy; OSError if the root cannot be written."""
        self.connection = connection
        self.source = source
        self.record = record
        self.stats = MirrorStats(started_at=started)
        self.failures = Failures(self.stats)
        self.known = MirrorState(root, source.key)
        self.claims = Claims(root, self.known)
        self.choosing = Choosing(self.known, root, self.failures)
        self.last_scan_at: float | None = None
        """Unix seconds."""
        self.level_at: float | None = None
        """When the last look at running runs began whose lines are all here, by the monotonic clock."""

    def open_lane(self, check: Callable[[], None]) -> Lane:
        """A lane for one thread; errors as of `Connection.open_sftp`."""
        return Lane(
            self.connection,
            self.source.root,
            self.known,
            self.claims,
            self.stats,
            self.failures,
            check,
            self.choosing.is_due,
        )
