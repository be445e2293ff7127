"""Bytes at rest: `version (1 byte) | zstd frame with size and checksum`. What was changed or cut off is recognised."""

from __future__ import annotations

import threading

import zstandard

_VERSION = b"\x01"
_FEWEST_BYTES = 4
_MAX_BYTES = 512 << 20  # unpacked; 4096 events with 16 000 values each


class DamagedFrame(ValueError):
    """The bytes are not a frame, not one of this version, or were changed. The read model has to be built again."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Damaged frame of metric points: {reason}")


def pack(raw: bytes) -> bytes:
    """`raw` compressed. ValueError beyond 512 MiB."""
    if len(raw) > _MAX_BYTES:
        raise ValueError("a frame of metric points is too large to be stored: use fewer rows")
    return _VERSION + _codecs.compressor.compress(raw)


def unpack(data: bytes) -> bytes:
    """What was given to `pack`; never more than 512 MiB, whatever the data claim. DamagedFrame if it is something else."""
    if data[:1] != _VERSION:
        raise DamagedFrame("unknown version")
    body = memoryview(data)[1:]
    try:
        if not _FEWEST_BYTES <= zstandard.frame_content_size(body) <= _MAX_BYTES:
            raise DamagedFrame("impossible size")
        return _codecs.decompressor.decompress(body, allow_extra_data=False)
    except zstandard.ZstdError:
        raise DamagedFrame("not compressed data, or changed since") from None


class _Codecs(threading.local):
    """zstd contexts: expensive to make, not safe to share between threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()
