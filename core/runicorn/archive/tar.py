"""Reading tar archives as a stream of members: ustar, pax and GNU formats.

The reader of the standard library reads headers of any size into memory, and looks for records in them in quadratic time;
it also takes a damaged header for the end of the archive. An import reads what strangers send, so it has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runicorn.archive.errors import UnusableArchive
from runicorn.archive.limits import Meter
from runicorn.archive.member import Member

_BLOCK = 512
_READ_BYTES = 256 << 10
_MAX_HEADER_BYTES = 64 << 10  # of long names and pax records
_NO_DATA = frozenset(b"123456")  # links, devices, directories, FIFOs: their size field counts for nothing
_FILES = frozenset(b"0\x007")
_DIRECTORY = ord("5")
_ZEROS = bytes(_BLOCK)


class _Source:
    """The unpacked bytes of an archive, forward only."""

    def __init__(self, read: Callable[[int], bytes], meter: Meter) -> None:
        self._read = read
        self._meter = meter

    def some(self, limit: int) -> bytes:
        """At least one byte, at most `limit`; none at the end."""
        data = self._read(min(limit, _READ_BYTES))
        self._meter.unpacked(len(data))
        return data

    def exactly(self, count: int) -> bytes:
        """So many bytes. UnusableArchive if there are fewer."""
        pieces: list[bytes] = []
        while count:
            piece = self.some(count)
            if not piece:
                raise UnusableArchive("truncated or damaged")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Leave out so many bytes."""
        while count:
            piece = self.some(count)
            if not piece:
                raise UnusableArchive("truncated or damaged")
            count -= len(piece)

    def drain(self) -> None:
        """Go to the end: a checksum may be there."""
        while self.some(_READ_BYTES):
            pass


def tar_members(read: Callable[[int], bytes], meter: Meter) -> Iterator[Member]:
    """Every member in turn; what is not read of one is skipped. UnusableArchive where the format ends."""
    source = _Source(read, meter)
    records: dict[str, str] = {}
    is_first = True
    while (block := source.exactly(_BLOCK) if not is_first else _first_block(source)) != _ZEROS:
        if not _is_header(block):
            raise UnusableArchive("not a zip or tar archive" if is_first else "truncated or damaged")
        is_first = False
        meter.member()
        kind, size = block[156], _number(block[124:136])
        if kind in b"xgLK":
            if size > _MAX_HEADER_BYTES:
                raise UnusableArchive("truncated or damaged")
            content = source.exactly(size)
            source.skip(-size % _BLOCK)
            if kind == ord("x"):
                records |= _records(content)
            elif kind == ord("L"):
                records["path"] = _text(content.partition(b"\0")[0])
            continue
        if kind == ord("S"):  # sparse, as GNU wrote it once: more headers before the data
            more = block[482]
            while more:
                more = source.exactly(_BLOCK)[504]
        size = 0 if kind in _NO_DATA else _decimal(records["size"]) if "size" in records else size
        left = size

        def read_data(limit: int) -> bytes:
            nonlocal left
            piece = source.exactly(min(limit, left, _READ_BYTES)) if left else b""
            left -= len(piece)
            return piece

        yield _member(block, kind, records, size, read_data)
        records = {}
        source.skip(left + -size % _BLOCK)
    source.drain()


def _first_block(source: _Source) -> bytes:
    """The first block; zeros stand for an archive without members."""
    found = b""
    while len(found) < _BLOCK:
        piece = source.some(_BLOCK - len(found))
        if not piece:
            raise UnusableArchive("not a zip or tar archive" if found else "truncated or damaged")
        found += piece
    return found


def _member(block: bytes, kind: int, records: dict[str, str], size: int, read: Callable[[int], bytes]) -> Member:
    name = records.get("path")
    if name is None:
        name = _text(block[:100].partition(b"\0")[0])
        prefix = block[345:500].partition(b"\0")[0]
        if prefix and block[257:263] == b"ustar\0":  # GNU has other things there
            name = f"{_text(prefix)}/{name}"
    is_directory = kind == _DIRECTORY or (kind == 0 and name.endswith("/"))
    is_file = kind in _FILES and not is_directory and not any(key.startswith("GNU.sparse") for key in records)
    return Member(
        name=name,
        kind="directory" if is_directory else "file" if is_file else "other",
        size=size,
        modified=_seconds(records.get("mtime"), block[136:148]),
        read=read,
    )


def _is_header(block: bytes) -> bool:
    """Whether the checksum is right, of unsigned or, as some programs have it, signed bytes."""
    try:
        expected = _number(block[148:156])
    except UnusableArchive:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(rest)
    return expected in (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest))


def _number(field: bytes) -> int:
    """An octal number, or a binary one where it would not fit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    text = field.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise UnusableArchive("truncated or damaged")
    return int(text, 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise UnusableArchive("truncated or damaged")
    return int(text)


def _seconds(precise: str | None, field: bytes) -> float:
    """The time of the last change; 0 if it is none."""
    try:
        return float(_number(field)) if precise is None else float(precise)
    except (UnusableArchive, ValueError, OverflowError):
        return 0.0


def _records(content: bytes) -> dict[str, str]:
    """Pax records: `<length of all> <key>=<value>\\n`."""
    found: dict[str, str] = {}
    position = 0
    while position < len(content):
        digits, space, _ = content[position : position + 8].partition(b" ")
        end = position + int(digits) if space and digits.isdigit() else 0
        key, equals, value = content[position + len(digits) + 1 : max(0, end - 1)].partition(b"=")
        if not equals or content[end - 1 : end] != b"\n":
            raise UnusableArchive("truncated or damaged")
        found[_text(key)] = _text(value)
        position = end
    return found


def _text(name: bytes) -> str:
    """A name; bytes that are not UTF-8 become lone surrogates, with which it has no place anywhere."""
    return name.decode("utf-8", "surrogateescape")
