"""The files of one run that is being recorded: its stream, its log, and the JSON files beside them."""

from __future__ import annotations

import os
from typing import Any

from runicorn.errors import shown
from runicorn.events.discovery import EVENTS_FILE
from runicorn.events.envelope import Payload
from runicorn.events.run import RunConfigured, RunSummarized
from runicorn.files import replace_file
from runicorn.run_files import LOGS_FILE, STATUS_FILE, SUMMARY_FILE
from runicorn.sdk.appender import Appender
from runicorn.sdk.lifecycle import Lifecycle
from runicorn.sdk.run_folders import RunFolders, StorageNotWritable
from runicorn.sdk.side_file import SideFile
from runicorn.sdk.warn_once import Warnings


class Recording:
    """Writes to the directory of one run. Only `begin` raises because of the storage; the rest warns, once each."""

    def __init__(self, folders: RunFolders, *, with_events: bool, is_begun: bool) -> None:
        self.folders = folders
        self.with_events = with_events
        self.warnings = Warnings()
        self._is_begun = is_begun
        directory = os.fspath(folders.run_dir)
        self.events = Appender(f"{directory}/{EVENTS_FILE}", self.is_present, self.warnings)
        self._logs = Appender(f"{directory}/{LOGS_FILE}", self.is_present, self.warnings, keep_open=False)
        self._status = SideFile(f"{directory}/{STATUS_FILE}", self.is_present, self.warnings)
        self._summary = SideFile(f"{directory}/{SUMMARY_FILE}", self.is_present, self.warnings)
        self._lifecycle = Lifecycle(folders, self.events, self._status, with_events=with_events)

    def is_present(self) -> bool:
        """Whether the run may be written to: it was not purged, nor is it being purged."""
        return not self._is_begun or (not self.events.is_removed and self.folders.is_present())

    def begin(self) -> None:
        """Say that this process runs the run from now on. StorageNotWritable if that cannot be written."""
        try:
            self._lifecycle.begin()
        except StorageNotWritable:
            self.events.is_removed = True  # what waits is for a run that will not be
            raise
        self._is_begun = True

    def finish(self, status: str, exit_reason: str | None) -> None:
        """Write everything, and say that the run has ended; recording may go on nevertheless."""
        self.flush()
        self._lifecycle.finish(status, exit_reason)
        self.events.close()

    def record(self, payload: Payload) -> None:
        """Append an event that 0.4.0 does not know."""
        self._lifecycle.append(self._lifecycle.now(), payload)

    def append_text(self, entry: bytes) -> None:
        """Append to the log."""
        self._logs.append(entry)

    def merge_summary(self, update: dict[str, Any]) -> None:
        """Set keys of the summary; the values are plain."""
        ts = self._lifecycle.now()
        self._summary.merge(update, append_event=lambda: self._lifecycle.append(ts, RunSummarized(update=update)))

    def configure(self, config: dict[str, Any]) -> None:
        """Set parameters of the training; the values are plain."""
        self._lifecycle.append(self._lifecycle.now(), RunConfigured(config=config))

    def store_media(self, name: str, content: bytes) -> bool:
        """Write a file of the run's media; whether that was possible."""
        if not self.is_present():
            return False
        directory = self.folders.media_dir
        try:
            directory.mkdir(exist_ok=True)
            replace_file(directory / name, content)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.warnings.note("media", f"images cannot be written ({reason}); they are not recorded")
            return False
        return True

    def flush(self) -> None:
        """Try to write what waits in memory."""
        self.events.flush()
        self._logs.flush()
        self._status.flush()
        self._summary.flush()
        self.warnings.say()

    def warn_about_loss(self) -> None:
        """Say what the end of the process loses."""
        lost = self.events.waiting + self._logs.waiting
        if lost and not self.events.is_removed:
            name = shown(self.folders.run_id)
            self.warnings.note("lost", f"{lost} lines of the run {name} could not be written and are lost")
            self.warnings.say()

    def release(self) -> None:
        """Close the descriptors; the next event opens them again."""
        self.events.close()

    def after_fork(self) -> None:
        """In the child: what waits is the parent's; locks and descriptors are made anew."""
        for part in (self.events, self._logs, self._status, self._summary):
            part.after_fork()
