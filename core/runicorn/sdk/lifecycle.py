"""The beginning and the end of a run: `meta.json`, `status.json`, and the events that say the same.

The event is appended first, then the file is replaced, both under the lock of `status.json`. Times of these events never
go back within a run, also if the clock does, because readers let the later one win.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import msgspec

from runicorn.events.believable import latest_believable
from runicorn.events.envelope import Payload, encode_event
from runicorn.events.run import RunCreated, RunFinished
from runicorn.files import read_json_object, write_json
from runicorn.process_identity import host_name, own_identity
from runicorn.run_files import META_FILE, RUNNING, STATUS_FILE
from runicorn.sdk.appender import Appender
from runicorn.sdk.run_folders import RunFolders, not_writable
from runicorn.sdk.side_file import ABSENT, SideFile


class Lifecycle:
    """Writes what becomes of one run. `with_events` False leaves the stream to metrics and images, as 0.4.0 had it."""

    def __init__(self, folders: RunFolders, events: Appender, status: SideFile, *, with_events: bool) -> None:
        self._folders = folders
        self._events = events
        self._status = status
        self._with_events = with_events
        self._last_ts = 0.0

    def begin(self) -> None:
        """Say that this process runs the run from now on. StorageNotWritable if its files cannot be written."""
        folders = self._folders
        self._last_ts = _last_known_time(folders)
        now = self.now()
        created = RunCreated(
            run_id=folders.run_id,
            project=folders.project,
            name=folders.name,
            created_at=now,
            python=sys.version.split(maxsplit=1)[0],
            platform=_platform(),
            hostname=host_name(),
            **msgspec.structs.asdict(own_identity()),
        )
        meta = {("id" if key == "run_id" else key): value for key, value in msgspec.structs.asdict(created).items()}
        meta["storage_dir"] = os.fspath(folders.storage_root)

        def append_and_write_meta() -> None:
            self.append(now, created)
            write_json(folders.run_dir / META_FILE, meta)

        try:
            self._status.merge({"status": RUNNING, "started_at": now}, append_event=append_and_write_meta, replace=True)
        except OSError as error:
            raise not_writable(folders, error) from error

    def finish(self, status: str, exit_reason: str | None = None) -> None:
        """Say that the run has ended; may be said again, then the last word counts."""

        def append_event() -> dict[str, Any]:
            # Under the lock: whoever judged this run meanwhile, and had the lock before us, spoke earlier.
            now = self.now()
            self.append(now, RunFinished(status=status, ended_at=now, exit_reason=exit_reason))
            return {"ended_at": now}

        self._status.merge({"status": status, "exit_reason": exit_reason or ABSENT}, append_event=append_event)
        self._events.sync()

    def append(self, ts: float, payload: Payload) -> None:
        """Append an event of the run that 0.4.0 does not know."""
        if self._with_events:
            self._events.append(encode_event(ts, payload.event_type, payload))

    def now(self) -> float:
        """The time of an event of the lifecycle: Unix seconds, never before an earlier one."""
        self._last_ts = max(time.time(), self._last_ts)
        return self._last_ts


def _last_known_time(folders: RunFolders) -> float:
    """When a run that exists already was begun or ended last, as its files say."""
    status = read_json_object(folders.run_dir / STATUS_FILE) or {}
    times = [status.get("started_at"), status.get("ended_at")]
    limit = latest_believable(time.time())
    return max((float(at) for at in times if isinstance(at, (int, float)) and 0 < at < limit), default=0.0)


def _platform() -> str:
    system = os.uname()  # what the platform module says, without its import
    return f"{system.sysname} {system.release} ({system.machine})"
