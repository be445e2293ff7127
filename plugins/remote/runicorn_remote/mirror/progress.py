"""What a mirror task says about itself: the wire format of `/api/ssh/mirror/list`."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["starting", "syncing", "watching", "reconnecting", "error", "stopped"]

MAX_ERROR_CHARACTERS = 300


class MirrorStats(msgspec.Struct, kw_only=True):
    """Counted since the task began, but for `failed_files`."""

    copied_files: int = 0
    appended_bytes: int = 0
    scans: int = 0
    started_at: float
    last_error: str = ""
    copied_bytes: int = 0
    failed_files: int = 0
    """Files, names and directories that could not be brought, each once, as of the last attempt at each."""


class MirrorReport(msgspec.Struct, frozen=True):
    """One task."""

    id: str
    session_id: str
    host: str
    remote_root: str
    local_root: str
    interval: float
    """Seconds between looks at what is running."""
    alive: bool
    state: State
    last_error: str
    """One line, without traceback and absolute paths; empty after the next good scan."""
    last_scan_at: float | None
    conflicts: int
    """Runs and artifacts that exist here already without being this source's; they are kept aside."""
    stats: MirrorStats
    lag_s: float | None
    """Seconds since the last look at running runs began whose lines are all here: what they had logged by then is here.

    By the clock of this machine alone. It grows while the connection is lost; None before the first scan is here.
    """
    waiting_files: int
    """Found on the server and not here yet: large files, and those of a first scan."""
    waiting_bytes: int


def one_line(error: BaseException) -> str:
    """An error as a task shows it."""
    text = str(error) if str(error) else type(error).__name__
    return " ".join(text.split())[:MAX_ERROR_CHARACTERS]
