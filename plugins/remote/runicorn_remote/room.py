"""Whether there is room for what a server says that it has: it may say anything."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_SPARE_BYTES = 64 << 20
"""Left for everybody else."""


def require_room(directory: Path | int, needed: int) -> None:
    """OSError (ENOSPC) if the disk of a directory (a path, or an open one) has not so many bytes to spare."""
    if shutil.disk_usage(directory).free < needed + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
