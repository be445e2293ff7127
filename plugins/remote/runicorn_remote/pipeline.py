"""Reading remote files with many requests in flight.

On a link with a delay of 40 ms, opening, reading and closing ten thousand small files one after the other takes most of an
hour; with the requests of a batch sent at once, two round trips do for all of its files. The protocol is SFTP version 3
(draft-ietf-secsh-filexfer-02): servers answer requests on one file in their order. paramiko's own prefetch uses the same
requests for one file at a time, and starts a thread for each.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import msgspec

from runicorn_remote.channels import translated
from runicorn_remote.errors import ConnectionLost, FileTooLarge, RemotePathNotFound
from runicorn_remote.sftp_client import RemoteStat, encoded, stat_in
from runicorn_remote.window import Window

if TYPE_CHECKING:
    from paramiko.message import Message
    from paramiko.sftp_client import SFTPClient

T = TypeVar("T")

PIECE_BYTES = 32 << 10
"""Bytes of one read request: every server answers that many at once."""

IN_FLIGHT = 64
_MANY = 256
MAX_BATCH_FILES = 128
"""Open at the same time; servers allow about a thousand."""

MAX_BATCH_BYTES = 4 << 20

MAX_FETCHED_BYTES = 64 << 20
"""Of one file that is read as a whole: a server may claim any size, and a request for each 32 KiB of it is sent at once."""


class Fetched(msgspec.Struct, frozen=True):
    """The bytes of a small file, and what it looked like before and after they were read."""

    data: bytes
    before: RemoteStat
    after: RemoteStat

    @property
    def is_settled(self) -> bool:
        """Whether nobody wrote it meanwhile, as far as sizes and times tell."""
        return self.before == self.after and len(self.data) == self.after.size


class _Asked(NamedTuple):
    """Requests that are under way, about some files."""

    paths: list[str]
    flights: list[tuple[int, list[int], int] | Exception]
    """Of each file: `FSTAT`, `READ`s, `FSTAT`; or why it could not be opened."""
    closing: list[int]


class Pipeline:
    """An SFTP client for one thread; errors are those of `translated`."""

    def __init__(self, sftp: SFTPClient) -> None:
        self.sftp = sftp
        # Requests that do not wait for their answers are paramiko's `_async_request` and `_read_response`, nothing public.
        self._wire = cast(Any, sftp)
        self._answers: dict[int, tuple[int, Message]] = {}

    def close(self) -> None:
        """Close the channel; also wakes the thread that waits on it."""
        self.sftp.close()

    def fetch(self, files: Sequence[tuple[str, int]]) -> list[Fetched | Exception]:
        """Read small files, given with the sizes that are expected, in two round trips. One error concerns one file.

        FileTooLarge for one of more than 64 MiB. A file that has grown beyond its size by more than a request is cut there:
        it is not `is_settled`.
        """
        with translated():
            return self._collected(self._asked(files))

    def fetch_batches(self, batches: Iterable[Sequence[tuple[str, int]]]) -> Iterator[list[Fetched | Exception]]:
        """`fetch` for one batch after the other. While the caller has one, the next is on its way: a round trip each."""
        before: _Asked | None = None
        for files in batches:
            with translated():
                asked = self._asked(files)
                answers = None if before is None else self._collected(before)
            before = asked
            if answers is not None:
                yield answers
                del answers  # before the next ones come
        if before is not None:
            with translated():
                answers = self._collected(before)
            yield answers

    def _asked(self, files: Sequence[tuple[str, int]]) -> _Asked:
        """Open files, and have everything else under way."""
        from paramiko.sftp import CMD_CLOSE, CMD_FSTAT, CMD_OPEN, CMD_READ, SFTP_FLAG_READ, int64
        from paramiko.sftp_attr import SFTPAttributes

        opening = [
            None if size > MAX_FETCHED_BYTES else self._send(CMD_OPEN, path.encode(), SFTP_FLAG_READ, SFTPAttributes())
            for path, size in files
        ]
        handles = [
            FileTooLarge(path, MAX_FETCHED_BYTES) if number is None else self._result(number, path)
            for number, (path, _) in zip(opening, files, strict=True)
        ]
        asked = _Asked([path for path, _ in files], [], [])
        for handle, (_, size) in zip(handles, files, strict=True):
            if isinstance(handle, Exception):
                asked.flights.append(handle)
                continue
            name = handle.get_binary()
            before = self._send(CMD_FSTAT, name)
            reads = [
                self._send(CMD_READ, name, int64(offset), PIECE_BYTES) for offset in range(0, size + 1, PIECE_BYTES)
            ]
            asked.flights.append((before, reads, self._send(CMD_FSTAT, name)))
            asked.closing.append(self._send(CMD_CLOSE, name))
        return asked

    def _collected(self, asked: _Asked) -> list[Fetched | Exception]:
        fetched = [
            flight if isinstance(flight, Exception) else self._fetched(*flight, path)
            for flight, path in zip(asked.flights, asked.paths, strict=True)
        ]
        for number in asked.closing:
            self._result(number, "")
        return fetched

    def read(self, path: str, start: int, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `start` to `end` (or its end), in pieces.

        As many requests are in flight as the link takes, up to 64.
        """
        from paramiko.sftp import CMD_OPEN, CMD_READ, SFTP_FLAG_READ, int64
        from paramiko.sftp_attr import SFTPAttributes

        with translated(path):
            opened = self._result(self._send(CMD_OPEN, path.encode(), SFTP_FLAG_READ, SFTPAttributes()), path)
            if isinstance(opened, Exception):
                raise opened
            handle = opened.get_binary()
            waiting: deque[tuple[int, int, int]] = deque()
            window = Window(IN_FLIGHT)
            position = start
            with self._closing(handle, path, waiting):
                while True:
                    while len(waiting) < window.size and (end is None or position < end):
                        length = PIECE_BYTES if end is None else min(PIECE_BYTES, end - position)
                        waiting.append((self._send(CMD_READ, handle, int64(position), length), position, length))
                        window.has_sent()
                        position += length
                        if end is None and len(waiting) >= 2:  # its length is not known: not far beyond its end
                            break
                    if not waiting:
                        return
                    number, offset, length = waiting.popleft()
                    data = self._data(number, path, length)
                    window.was_answered()
                    if data:
                        yield data
                    if len(data) < length:  # a short answer: what follows it was asked for at other offsets
                        self._drop(waiting)
                        window.forget()
                        if not data:
                            return
                        position = offset + len(data)

    def stat(self, path: str) -> RemoteStat:
        """What a path leads to, links followed."""
        from paramiko.sftp import CMD_STAT

        with translated(path):
            found = self._stat(self._send(CMD_STAT, path.encode()), path)
        if isinstance(found, Exception):
            raise found
        return found

    def stats(self, paths: Sequence[str]) -> list[RemoteStat | Exception | None]:
        """What paths lead to; None where nothing is."""
        from paramiko.sftp import CMD_STAT

        found: list[RemoteStat | Exception | None] = []
        with translated():
            for some in chunks(paths):
                numbers = [self._send(CMD_STAT, encoded(path)) for path in some]
                for number, path in zip(numbers, some, strict=True):
                    stat = self._stat(number, path)
                    found.append(None if isinstance(stat, RemotePathNotFound) else stat)
        return found

    def _fetched(self, before: int, reads: Sequence[int], after: int, path: str) -> Fetched | Exception:
        first = self._stat(before, path)
        pieces: list[bytes] = []
        failure: Exception | None = None
        is_short = False
        for number in reads:
            try:
                data = self._data(number, path, PIECE_BYTES)
            except TimeoutError:
                raise
            except Exception as error:  # kept for this file, after the answers of its other requests have been taken
                failure = failure or error
                continue
            if not is_short:
                pieces.append(data)
            is_short = is_short or len(data) < PIECE_BYTES
        last = self._stat(after, path)
        if failure is not None:
            return failure
        if isinstance(first, Exception):
            return first
        return last if isinstance(last, Exception) else Fetched(b"".join(pieces), first, last)

    def _stat(self, number: int, path: str) -> RemoteStat | Exception:
        answer = self._result(number, path)
        return answer if isinstance(answer, Exception) else stat_in(answer)

    def _data(self, number: int, path: str, length: int) -> bytes:
        """The bytes of a read; none at the end of the file. ConnectionLost if there are more than were asked for."""
        answer = self._result(number, path)
        if isinstance(answer, EOFError):
            return b""
        if isinstance(answer, Exception):
            raise answer
        data = answer.get_binary()
        if len(data) > length:  # no server does that which means well
            raise ConnectionLost
        return data

    def _send(self, kind: int, *arguments: object) -> int:
        return cast(int, self._wire._async_request(self, kind, *arguments))

    def _result(self, number: int, path: str) -> Message | Exception:
        """The answer to a request; an error that concerns this file only."""
        from paramiko.sftp import CMD_STATUS

        while number not in self._answers:
            self._wire._read_response()
        kind, message = self._answers.pop(number)
        if kind != CMD_STATUS:
            return message
        try:
            self._wire._convert_status(message)
        except EOFError as error:
            return _bare(error)
        except OSError as error:
            try:
                with translated(path):
                    raise error
            except Exception as ours:
                return _bare(ours)
        return message

    @contextlib.contextmanager
    def _closing(self, handle: bytes, path: str, waiting: deque[tuple[int, int, int]] | None = None) -> Generator[None]:
        """Close a file or directory behind the body, and take the answers that the body left `waiting`."""
        from paramiko.sftp import CMD_CLOSE

        is_silent = False
        try:
            yield
        except TimeoutError:  # the channel is thrown away, and nothing that is asked on it will be answered
            is_silent = True
            raise
        finally:
            if not is_silent:
                if waiting is not None:
                    self._drop(waiting)
                self._result(self._send(CMD_CLOSE, handle), path)

    def _drop(self, waiting: deque[tuple[int, int, int]]) -> None:
        while waiting:
            self._result(waiting.popleft()[0], "")

    def _async_response(self, kind: int, message: Message, number: int) -> None:
        """Called by paramiko with the answer to a request of `_send`."""
        self._answers[number] = (kind, message)


def _bare(error: Exception) -> Exception:
    """An error that is a result. Its traceback would hold the frames of its callers, and they hold it: all bytes of a file."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def batches(files: Sequence[tuple[str, int]]) -> Iterator[Sequence[tuple[str, int]]]:
    """Files in batches that `fetch` can take at once."""
    batch: list[tuple[str, int]] = []
    size = 0
    for file in files:
        if batch and (len(batch) >= MAX_BATCH_FILES or size + file[1] > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file[1]
    if batch:
        yield batch


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Some of them at a time, for as many requests at once."""
    for start in range(0, len(items), _MANY):
        yield items[start : start + _MANY]
