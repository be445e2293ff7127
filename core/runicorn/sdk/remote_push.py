"""A run that is brought to another machine while it is recorded: `init(…, remote="ssh://…")`.

A process of its own does it, `runicorn remote push --follow`, which outlives the training. The training never waits for it,
except for a bounded time in `finish`, and never fails because of it: what goes wrong there is a warning here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from runicorn.config import user_config_dir, whole_numbers
from runicorn.errors import shown
from runicorn.files import read_json_object
from runicorn.run_files import RUNNING, STATUS_FILE
from runicorn.sdk.capturing import wait_for_captures
from runicorn.sdk.run_folders import RunFolders
from runicorn.sdk.warn_once import Warnings

if TYPE_CHECKING:
    from subprocess import Popen

_WAIT_S = 15
_CAPTURE_S = 0.5
_MAX_LINE_CHARACTERS = 500


class RemotePush:
    """The process that pushes one run. Only the process that began the run has one."""

    def __init__(self, folders: RunFolders, url: str, warnings: Warnings) -> None:
        """`url` has been checked: `parse_remote`."""
        self._folders = folders
        self._url = url
        self._warnings = warnings
        self._owner = os.getpid()
        self._process: Popen[str] | None = None
        self._has_ended = threading.Event()
        self._saw_an_end = False
        # What goes wrong; it is removed when the run is complete on the other machine.
        self._log = user_config_dir() / "pushes" / f"{folders.run_id[:60]}.{os.getpid()}.log"

    def start(self) -> None:
        """Begin to push. Never raises."""
        import subprocess  # 8 ms that no other run needs

        folders = self._folders
        key = folders.run_dir.relative_to(folders.storage_root).as_posix()
        options = ["--follow", "--log", os.fspath(self._log), "--storage", os.fspath(folders.storage_root)]
        try:
            self._process = subprocess.Popen(
                # -P: a module in the directory of the training must not stand in for one of the library.
                [sys.executable, "-P", "-m", "runicorn", "remote", "push", *options, "--", key, self._url],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the training
            )
            self._has_ended = threading.Event()
            threading.Thread(
                target=self._listen, args=(self._process, self._has_ended), name="runicorn-push", daemon=True
            ).start()
        # No interpreter to be had (embedded: None), no process, or no thread that would listen to it.
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            self._warnings.note("push", f"the run is not pushed: {shown(str(error))}. {self._advice}")
            self._warnings.say()

    def prepare_end(self) -> None:
        """Before the end is recorded, which ends the push: wait briefly for what is written in the background."""
        if self._process is not None and os.getpid() == self._owner:
            wait_for_captures(_CAPTURE_S)
            status = read_json_object(self._folders.run_dir / STATUS_FILE) or {}
            self._saw_an_end = status.get("status") != RUNNING

    def wait(self) -> None:
        """After the end was recorded: wait until everything is there, 15 s at most (`RUNICORN_PUSH_WAIT_S`)."""
        if self._process is None or os.getpid() != self._owner:
            return
        run_id = shown(self._folders.run_id)
        wait_s = whole_numbers("RUNICORN_PUSH_", ["wait_s"]).get("wait_s", _WAIT_S)
        deadline = time.monotonic() + wait_s
        if self._saw_an_end and self._has_ended.wait(wait_s) and self._process.returncode == 0:
            self.start()  # that end was not this one
        if not self._has_ended.wait(max(0.0, deadline - time.monotonic())):
            self._warnings.note(
                "push end",
                f"the run {run_id} is not complete on the other machine yet; the push goes on in the background"
                f" (problems: {self._log}). {self._advice}",
            )
        elif self._process.returncode != 0:
            self._warnings.note("push end", f"the run {run_id} was not pushed. {self._advice}")
        self._warnings.say()

    @property
    def _advice(self) -> str:
        import shlex

        words = ["runicorn", "remote", "push", "--storage", os.fspath(self._folders.storage_root)]
        return f"This command completes it: {shlex.join([*words, '--', self._folders.run_id, self._url])}"

    def _listen(self, process: Popen[str], has_ended: threading.Event) -> None:
        """Warn about what the process says."""
        assert process.stderr is not None
        with contextlib.suppress(ValueError, OSError), process.stderr:
            for line in process.stderr:
                text = "".join(character for character in line[:_MAX_LINE_CHARACTERS] if character.isprintable())
                if text := text.strip():
                    self._warnings.note(f"push {text}", f"pushing the run: {text}")
                    self._warnings.say()
        process.wait()
        has_ended.set()
