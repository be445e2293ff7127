"""paramiko's SFTP client, for servers that say odd things, or do not mean well."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, cast

import msgspec

from runicorn_remote.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramiko.message import Message
    from paramiko.sftp_client import SFTPClient

_MAX_PACKET_BYTES = 1 << 20
"""OpenSSH sends 256 KiB at most."""

_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000
_TEXT_BYTES = 4
"""What an empty text takes in a message: its length."""


class RemoteStat(msgspec.Struct, frozen=True):
    """What the server says of a file: SFTP knows whole seconds only."""

    size: int
    mtime_s: int
    mode: int = 0


class RemoteEntry(msgspec.Struct, frozen=True):
    """An entry of a directory; links are not followed."""

    name: str
    """Bytes that are not UTF-8 as lone surrogates."""
    stat: RemoteStat


@functools.cache
def careful_client() -> type[SFTPClient]:
    """The class of the clients: paramiko is imported when the first one is needed."""
    from paramiko.message import Message
    from paramiko.sftp import CMD_ATTRS, CMD_LSTAT, CMD_NAME, CMD_REALPATH, CMD_STAT, SFTPError
    from paramiko.sftp_attr import SFTPAttributes
    from paramiko.sftp_client import SFTPClient

    class CarefulClient(SFTPClient):
        """Takes no longer packets than servers send (paramiko: 16 MiB, of each of many answers), and texts in any encoding."""

        def _read_all(self, n: int) -> bytes:
            if n > _MAX_PACKET_BYTES:
                raise SFTPError("a packet is too long")
            return cast(Any, super())._read_all(n)

        def _convert_status(self, msg: Message) -> None:
            code, reason = msg.get_int(), text_in(msg)
            status = Message()
            status.add_int(code)
            status.add_string(reason.encode("utf-8", "replace"))
            status.rewind()
            cast(Any, super())._convert_status(status)

        def normalize(self, path: bytes | str) -> str:
            kind, answer = self._ask(CMD_REALPATH, path)
            if kind != CMD_NAME or answer.get_int() != 1:
                raise SFTPError("not the name of a file")
            return text_in(answer).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

        def stat(self, path: bytes | str) -> SFTPAttributes:
            return self._attributes(CMD_STAT, path)

        def lstat(self, path: bytes | str) -> SFTPAttributes:
            return self._attributes(CMD_LSTAT, path)

        def close(self) -> None:
            with contextlib.suppress(EOFError, OSError):  # the other side cannot be told: it is gone
                super().close()

        def _attributes(self, request: int, path: bytes | str) -> SFTPAttributes:
            kind, answer = self._ask(request, path)
            if kind != CMD_ATTRS:
                raise SFTPError("not the attributes of a file")
            found, attributes = stat_in(answer), SFTPAttributes()
            attributes.st_size, attributes.st_mode = found.size, found.mode
            attributes.st_atime = attributes.st_mtime = found.mtime_s
            return attributes

        def _ask(self, request: int, path: bytes | str) -> tuple[int, Message]:
            return cast(tuple[int, Message], cast(Any, self)._request(request, path))

    return CarefulClient


def stat_in(message: Message) -> RemoteStat:
    """The attributes that come next in an answer; what the server leaves out is 0. ConnectionLost if they are none."""
    flags = message.get_int()
    size = message.get_int64() if flags & _SIZE else 0
    if flags & _OWNER:
        message.get_int()
        message.get_int()
    mode = message.get_int() if flags & _MODE else 0
    mtime_s = 0
    if flags & _TIMES:
        message.get_int()
        mtime_s = message.get_int()
    if flags & _EXTENDED:
        for _ in range(2 * _count_in(message, 2 * _TEXT_BYTES)):
            message.get_binary()
    return RemoteStat(size, mtime_s, mode)


def entries_in(message: Message) -> Iterator[RemoteEntry]:
    """The names in an answer, with their attributes. ConnectionLost if they are none."""
    for _ in range(_count_in(message, 3 * _TEXT_BYTES)):
        name = text_in(message)
        message.get_binary()  # the line of `ls -l`
        yield RemoteEntry(name, stat_in(message))


def text_in(message: Message) -> str:
    """The text that comes next in an answer; bytes that are not UTF-8 as lone surrogates."""
    return message.get_binary().decode("utf-8", "surrogateescape")


def encoded(path: str) -> bytes:
    """A path as the server has it, names that are not UTF-8 included."""
    return path.encode("utf-8", "surrogateescape")


def _count_in(message: Message, least_bytes: int) -> int:
    """How many things follow, each of which takes some bytes: a number that cannot be is no answer of an SFTP server.

    (paramiko would read zeros behind the end of a message, four billion times if it was told to.)
    """
    count, packet = message.get_int(), message.packet
    if count * least_bytes > packet.getbuffer().nbytes - packet.tell():
        raise ConnectionLost
    return count
