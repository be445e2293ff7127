"""Files that a user names as the place of an output: `--out`, `--output`, `to_csv(path)`."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from typing import BinaryIO

from runicorn.files import replacing_file


@contextlib.contextmanager
def output_file(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """A file to write the output to. OSError as it comes.

    A regular file is there as a whole or not at all, and a link keeps pointing to it. What is no regular file (a pipe,
    `/dev/stdout`, `/dev/null`) is written to as it is.
    """
    try:
        is_special = not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        is_special = False
    if is_special:
        with open(path, "wb") as file:
            yield file
    else:
        with replacing_file(os.path.realpath(path)) as file:
            yield file


def write_output(path: str | os.PathLike[str], content: bytes) -> None:
    """Write all of the output at once, as `output_file` does."""
    with output_file(path) as file:
        file.write(content)
