"""What a run directory holds besides its event stream, under the names that 0.4.0 gave it, and the words for a status.

Light on purpose: the SDK imports this module in the training process.
"""

from __future__ import annotations

import os
from pathlib import Path

from runicorn.fields import text

META_FILE = "meta.json"
STATUS_FILE = "status.json"
SUMMARY_FILE = "summary.json"
ENVIRONMENT_FILE = "environment.json"
LOGS_FILE = "logs.txt"
ARTIFACTS_CREATED_FILE = "artifacts_created.json"
ARTIFACTS_USED_FILE = "artifacts_used.json"
MEDIA_DIRECTORY = "media"

DELETED_FILE = ".deleted"
"""Its presence puts the run into the recycle bin, whatever it says."""

RUNNING = "running"
FINISHED = "finished"
FAILED = "failed"
INTERRUPTED = "interrupted"

DEFAULT_STATUS = FINISHED
"""Of a run that says nothing about it."""


def stored_status(value: object) -> str:
    """The status that a file or event gives a run. Any text is legal, and what is none is shown as text."""
    if value is None or value == "":
        return DEFAULT_STATUS
    return text(value) or str(value)[:128]


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path is the root or below it, once all links are followed. It need not exist."""
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(path)]) == real_root
