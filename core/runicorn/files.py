"""Files shared with other programs: atomic replacement, tolerant reading, advisory locks.

Light on purpose: the SDK imports this module in the training process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from runicorn.fields import without_surrogates

TEMPORARY = ".tmp"
"""How the names of files end that are on their way to another name."""

SIDE_FILE_BYTES = 4 << 20
"""A JSON file of a run beyond this is not one that a tracker wrote; readers treat it as empty."""

_MAX_INT_DIGITS = 4300  # CPython's limit for int(str); longer literals become null
_MAX_DEPTH = 200  # far below the interpreter's recursion limit, wherever on the stack a value is read or written


def replace_file(path: Path | str, data: bytes, *, fsync: bool = False, mode: int = 0o644) -> None:
    """Replace `path` by `data` atomically: temporary file in the same directory, then rename.

    Readers see the old or the new content, never a part. With `fsync` the content survives a machine crash, too.
    OSError as it comes; then the old file is untouched and no temporary file stays.
    """
    target = os.fspath(path)
    temporary = write_temporary(target, data, fsync=fsync, mode=mode)
    try:
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if fsync:
        sync_directory(os.path.dirname(target) or ".")


def write_temporary(path: Path | str, data: bytes, *, fsync: bool = False, mode: int = 0o644) -> str:
    """Write what shall become `path` to a file beside it, `<path>.….tmp`; its path, for `os.replace`.

    OSError as it comes; then no temporary file stays.
    """
    temporary = name_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def name_beside(path: Path | str) -> str:
    """A new name in the directory of `path`, `<path>.….tmp`, for what shall become it or was it."""
    return f"{os.fspath(path)}.{os.getpid()}.{os.urandom(4).hex()}{TEMPORARY}"


@contextlib.contextmanager
def replacing_file(path: Path | str, *, mode: int = 0o644) -> Generator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when the context is left; an exception leaves the old one.

    Like `replace_file`, for content that does not fit into memory. It can be read and sought, too.
    """
    target = os.fspath(path)
    temporary = name_beside(target)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def sync_directory(path: Path | str) -> None:
    """Make renames and new names in a directory survive a machine crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path | str, value: object, *, fsync: bool = False, mode: int = 0o644) -> None:
    """Replace `path` by `value` as 0.4.0 writes JSON: 2-space indent, unescaped non-ASCII, bare NaN."""
    replace_file(path, as_file(value), fsync=fsync, mode=mode)


def as_file(value: object) -> bytes:
    """JSON as `write_json` writes it."""
    compact = without_surrogates(json.dumps(value, ensure_ascii=False)).encode()
    try:
        return msgspec.json.format(compact, indent=2)
    except (msgspec.DecodeError, RecursionError):  # NaN, or nested deeply: Python's own way takes twenty times as long
        return without_surrogates(json.dumps(value, ensure_ascii=False, indent=2)).encode()


def dump_json(value: object) -> bytes:
    """Compact JSON that `parse_json` reads back: bare NaN, integers of any size, lone surrogates as U+FFFD.

    TypeError or ValueError for what JSON cannot express; a value that contains itself, or nests too deeply, is a ValueError.
    """
    try:
        text = _compact(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return without_surrogates(text).encode()


def parse_json(data: bytes) -> Any:
    """Parse JSON as the contract reads stored files: BOM, invalid UTF-8, bare NaN and huge integers are accepted.

    Integers longer than 4300 digits become None, lone surrogates U+FFFD. ValueError if it is not JSON, or nests deeper
    than 200 levels.
    """
    text = data.decode("utf-8", "ignore").lstrip("\ufeff")
    try:
        value = json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if may_nest_too_deeply(data) and _depth_exceeds(value, _MAX_DEPTH):
        raise ValueError("nested too deeply")
    if _SURROGATE_ESCAPE.search(text) is not None:  # only an escape can bring one in
        value = json.loads(without_surrogates(json.dumps(value, ensure_ascii=False)))
    return value


def may_nest_too_deeply(data: bytes) -> bool:
    """Whether JSON text has brackets enough to nest deeper than `parse_json` accepts; a cheap first look."""
    return len(data) > _MAX_DEPTH and data.count(b"[") + data.count(b"{") > _MAX_DEPTH


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def _depth_exceeds(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit + 1):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, dict):
                deeper += cast(dict[str, object], item).values()
            elif isinstance(item, list):
                deeper += cast(list[object], item)
        if not deeper:
            return False
        level = deeper
    return True


def _parse_int(digits: str) -> int | None:
    return int(digits) if len(digits) < _MAX_INT_DIGITS else None


def open_to_read(path: Path | str) -> BinaryIO:
    """Open a file for reading. OSError as it comes, also where a pipe or a device lies in its place: nothing is waited for."""
    return open(path, "rb", opener=_open_regular)


def _open_regular(path: str, flags: int, dir_fd: int | None = None) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def open_below(directory: Path, parts: Sequence[str]) -> BinaryIO:
    """Open a regular file below a directory for reading, by the names on the way to it; no link among them is followed.

    The names must have been validated: none is empty, `.` or `..`, or has a separator in it. OSError as it comes.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        # Relative to descriptors: a directory that becomes a link meanwhile is not followed, either.
        return open(
            parts[-1], "rb", opener=lambda name, flags: _open_regular(name, flags | os.O_NOFOLLOW, dir_fd=descriptor)
        )
    finally:
        os.close(descriptor)


def read_json_object(path: Path | str, *, limit: int | None = SIDE_FILE_BYTES) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing, unreadable, empty, not JSON or not an object.

    Nor is one of more than `limit` bytes read. With None there is no limit: for files that grow with a store, and for those
    that are written again with what they hold.
    """
    try:
        with open_to_read(path) as file:
            data = file.read(-1 if limit is None else limit + 1)
        if limit is not None and len(data) > limit:
            return None
        value = parse_json(data)
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


class LockTimeout(TimeoutError):
    """Another process held an advisory lock for too long."""


@contextlib.contextmanager
def file_lock(path: Path | str, *, timeout_s: float | None = None) -> Generator[None]:
    """Hold the advisory lock on the file `path` (created if missing, never removed), as the `filelock` package does.

    Shared with 0.4.0 and with other processes, by `flock`. LockTimeout after `timeout_s` seconds (None: wait for ever),
    OSError if the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(descriptor)
    try:
        lock_descriptor(descriptor, timeout_s=timeout_s)
        yield
    finally:
        if descriptor in _held:  # not in a child forked meanwhile
            _held.discard(descriptor)
            os.close(descriptor)  # closing the only descriptor of this open file releases the lock


_held: set[int] = set()
"""Descriptors of the locks that this process holds or waits for."""


def _close_held_after_fork() -> None:
    # The child shares the open file, and with it the lock, of every thread that it does not have: a worker that lives
    # for hours would keep the lock as long.
    while _held:
        with contextlib.suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_close_held_after_fork)


def lock_descriptor(descriptor: int, *, timeout_s: float | None = None) -> None:
    """Take the lock of an open lock file; see `file_lock`. Released by `unlock_descriptor` or by closing."""
    if timeout_s is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    deadline = time.monotonic() + timeout_s
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            raise LockTimeout("the file is locked by another process")
        time.sleep(0.01)


def unlock_descriptor(descriptor: int) -> None:
    """Release what `lock_descriptor` took."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
