"""A disk that has no room for certain files, or does not let them be replaced."""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def no_room_for(pattern: str, *, after: int = 0) -> Generator[None]:
    """No file whose path matches can be made or written: ENOSPC, but for the first `after` times."""
    left = after

    def open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        nonlocal left
        if flags & (os.O_WRONLY | os.O_RDWR) and fnmatch.fnmatch(os.fspath(path), pattern):
            left -= 1
            if left < 0:
                raise _full(path)
        return real(path, flags, *arguments, **options)

    real = os.open
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, "open", open)
        yield


@contextmanager
def not_replaceable(pattern: str, *, after: int = 0) -> Generator[None]:
    """A file whose path matches cannot be replaced: once, after it was `after` times."""
    count = 0

    def replace(source: Any, target: Any, **options: Any) -> None:
        nonlocal count
        if fnmatch.fnmatch(os.fspath(target), pattern):
            count += 1
            if count == after + 1:
                raise _full(target)
        real(source, target, **options)

    real = os.replace
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, "replace", replace)
        yield


def _full(path: Any) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
