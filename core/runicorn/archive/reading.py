"""Opening an archive by its content: zip, and tar, also compressed with gzip or zstandard."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import msgspec
import zstandard

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.limits import Meter
from runicorn.archive.member import Member
from runicorn.archive.tar import tar_members
from runicorn.archive.zip import STARTS, zip_members

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_MAX_WINDOW = 1 << 26  # bytes that unpacking zstandard may need: 64 MiB, all but its ultra levels

# What the readers raise about their input, all of it in memory or in our own file: encrypted, unknown method, bad offsets.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    zstandard.ZstdError,
)


def members_of(file: BinaryIO, meter: Meter) -> Iterator[Member]:
    """The members of an archive in turn. UnusableArchive if it is none, is damaged, or is beyond a limit."""
    file.seek(0)
    head = file.read(len(_ZSTANDARD))
    file.seek(0)
    if not head:
        raise UnusableArchive("empty file")
    members = zip_members(file, meter) if head in STARTS else tar_members(_unpacked(file, head), meter)
    while True:
        with _as_damage():
            member = next(members, None)
        if member is None:
            return
        yield msgspec.structs.replace(member, read=_guarded(member.read))


def _unpacked(file: BinaryIO, head: bytes) -> Callable[[int], bytes]:
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file, mode="rb").read
    if head == _ZSTANDARD:
        unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        return cast(Callable[[int], bytes], unpacker.stream_reader(file, read_across_frames=True).read)
    return file.read


def _guarded(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def guarded(limit: int) -> bytes:
        with _as_damage():
            return read(limit)

    return guarded


@contextmanager
def _as_damage() -> Generator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, UnusableArchive):
            raise
        raise UnusableArchive("truncated or damaged") from error
