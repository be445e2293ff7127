"""What an archive consists of, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member. Its name is as the archive has it: nothing about it is known to be safe."""

    name: str
    kind: Literal["file", "directory", "other"]
    """`other`: links, devices, pipes, sparse files."""
    size: int
    modified: float
    """Unix seconds; 0 if it is not known."""
    read: Callable[[int], bytes]
    """The next bytes of a file, at most so many; none at its end. Only until the next member is asked for."""
