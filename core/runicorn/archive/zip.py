"""Reading zip archives as a sequence of members."""

from __future__ import annotations

import os
import stat
import struct
import time
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.limits import Meter
from runicorn.archive.member import Member

STARTS = (b"PK\x03\x04", b"PK\x05\x06")

_ENTRY = struct.Struct("<4s24xHHH12x")
_END = struct.Struct("<4s8xLLH")
_END_64 = struct.Struct("<4s36xQQ")
_MAX_COMMENT = 0xFFFF
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # the others unpack a few bytes to any size at once


def zip_members(file: BinaryIO, meter: Meter) -> Iterator[Member]:
    """Every member in turn."""
    _check_entries(file, meter.limits.members)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            meter.member()
            kind = stat.S_IFMT(info.external_attr >> 16)
            name = info.orig_filename  # the other one ends at a NUL
            if name.endswith("/"):
                yield Member(name=name, kind="directory", size=0, modified=_seconds(info), read=_nothing)
            elif kind not in (0, stat.S_IFREG):
                yield Member(name=name, kind="other", size=0, modified=0.0, read=_nothing)
            else:
                yield from _file(archive, info, meter)


def _file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[Member]:
    opened: list[zipfile.ZipExtFile] = []
    left = info.file_size

    def read(limit: int) -> bytes:
        nonlocal left
        if not opened:
            if info.compress_type not in _METHODS:
                raise UnusableArchive("truncated or damaged")
            opened.append(archive.open(info))  # type: ignore[arg-type]  # an `IO` reads like a `BinaryIO`
        data = opened[0].read(limit)
        left -= len(data)
        if left and not data:  # the library minds a wrong checksum, but not a wrong size
            raise UnusableArchive("truncated or damaged")
        meter.unpacked(len(data))
        return data

    yield Member(name=info.orig_filename, kind="file", size=info.file_size, modified=_seconds(info), read=read)
    for reader in opened:
        reader.close()


def _nothing(limit: int) -> bytes:
    return b""


def _seconds(info: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (OverflowError, ValueError):
        return 0.0


def _check_entries(file: BinaryIO, limit: int) -> None:
    """Count the entries of the directory before the library reads all of it into memory."""
    position, size = _directory(file)
    end = position + size
    for _ in range(limit + 1):
        if position + _ENTRY.size > end:
            return
        file.seek(position)
        entry = file.read(_ENTRY.size)
        signature, name, extra, comment = _ENTRY.unpack(entry)
        if signature != b"PK\x01\x02":
            raise UnusableArchive("truncated or damaged")
        position += _ENTRY.size + name + extra + comment
    raise UnusableArchive("too many members")


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Offset and size of the directory, found where the library finds it."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _MAX_COMMENT - _END.size)
    file.seek(start)
    tail = file.read()
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise UnusableArchive("truncated or damaged")
    size = _END.unpack_from(tail, at)[1]
    end = start + at
    if end >= 76:
        file.seek(end - 76)
        before = file.read(76)
        if before[56:60] == b"PK\x06\x07" and before[:4] == b"PK\x06\x06":
            size = _END_64.unpack_from(before)[1]
            end -= 76
    if size > end:
        raise UnusableArchive("truncated or damaged")
    return end - size, size
