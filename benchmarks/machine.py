"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import apsw

from runicorn.version import __version__


def machine() -> dict[str, str]:
    """Processor, memory, and the versions that matter."""
    return {
        "Runicorn": __version__,
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.MULTILINE)
    return match[1] if match else platform.machine()
