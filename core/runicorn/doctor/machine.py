"""What the operating system and the installed SQLite give."""

from __future__ import annotations

import resource
from pathlib import Path

from runicorn.doctor.finding import Finding

_WATCHES, _INSTANCES, _DESCRIPTORS = 8192, 16, 1024
_INOTIFY = Path("/proc/sys/fs/inotify")


def notices_changes(root: Path, limits: Path = _INOTIFY) -> Finding:
    """Whether changes below the root are noticed by inotify, or only by polling."""
    from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

    from runicorn.projection.watching import needs_polling

    if needs_polling(root):
        return Finding(
            "inotify", "ok", "changes are looked for: the root is on a file system that does not tell of them"
        )
    try:
        RustNotify([str(root)] if root.is_dir() else [], False, False, 300, False, False).close()
    except (OSError, WatchfilesRustInternalError):
        advice = "Raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl."
        return Finding("inotify", "warning", "no watch can be had: changes are looked for instead", advice)
    for name, needed in (("max_user_watches", _WATCHES), ("max_user_instances", _INSTANCES)):
        allowed = _number(limits / name)
        if allowed is not None and allowed < needed:
            advice = f"sysctl -w fs.inotify.{name}={8 * needed}"
            return Finding(
                "inotify", "warning", f"fs.inotify.{name} is {allowed}: too few for many runs at once", advice
            )
    return Finding("inotify", "ok", "watches can be had")


def has_descriptors() -> Finding:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS:
        return Finding("descriptors", "ok", f"{soft} per process")
    return Finding("descriptors", "warning", f"only {soft} per process", f"ulimit -n {min(hard, 8 * _DESCRIPTORS)}")


def sqlite_has_features() -> Finding:
    """Whether SQLite brings the full-text search and the extension that queries need."""
    import apsw

    advice = "Install apsw and sqlite-vec from their wheels: pip install --force-reinstall apsw sqlite-vec"
    version = f"SQLite {apsw.sqlite_lib_version()}"
    connection = apsw.Connection(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'trigram')")
        import sqlite_vec

        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        connection.execute("SELECT vec_version()").fetchall()
    except (apsw.Error, ImportError, AttributeError) as error:
        return Finding("sqlite", "problem", f"{version} lacks a feature: {error}", advice)
    finally:
        connection.close()
    return Finding("sqlite", "ok", f"{version}, with full-text search and vectors")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
