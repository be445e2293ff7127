"""Looking around on a server, for many paths at once: directories and links, as paramiko would for one after the other.

On a link with a delay of 40 ms, listing two thousand directories one by one takes six minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from runicorn_remote.channels import translated
from runicorn_remote.errors import ConnectionLost
from runicorn_remote.pipeline import Pipeline
from runicorn_remote.sftp_client import RemoteEntry, RemoteStat, encoded, entries_in, text_in

MAX_ENTRIES = 2_000_000
"""Files below one root: beyond, it is none of ours, or its server does not mean well."""

MAX_NAME_BYTES = 256 << 20
"""Of all their paths together."""

MOST_AT_ONCE = 64
"""Directories that are open at the same time, and links that are followed."""

_MOST_ANSWERS = 16


class _Listing:
    """A directory that is being read."""

    def __init__(self, handle: bytes, shown_as: str) -> None:
        self.handle = handle
        self.shown_as = shown_as
        self.entries: list[RemoteEntry] = []
        self.failure: Exception | None = None
        self.is_over = False


class Looking(Pipeline):
    """A pipeline that lists directories and follows links."""

    def list(self, path: str, *, shown_as: str | None = None) -> list[RemoteEntry]:
        """The entries of a directory, which errors call `shown_as`.

        (paramiko's `listdir_attr` fails as a whole at a name that is not UTF-8.)
        """
        found = self.lists([path], shown_as=[path if shown_as is None else shown_as])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def lists(self, paths: Sequence[str], *, shown_as: Sequence[str]) -> Sequence[list[RemoteEntry] | Exception]:
        """The entries of directories, at most 64, in three round trips unless they are large.

        What endless directories have beyond the limits of an enumeration is left out.
        """
        from paramiko.sftp import CMD_CLOSE, CMD_OPENDIR, CMD_READDIR

        with translated():
            numbers = [self._send(CMD_OPENDIR, encoded(path)) for path in paths]
            opened = [
                answer if isinstance(answer := self._result(number, name), Exception) else answer.get_binary()
                for number, name in zip(numbers, shown_as, strict=True)
            ]
            found = [
                handle if isinstance(handle, Exception) else _Listing(handle, name)
                for handle, name in zip(opened, shown_as, strict=True)
            ]
            reading = [listing for listing in found if isinstance(listing, _Listing)]
            closing: list[int] = []
            room = [MAX_ENTRIES, MAX_NAME_BYTES]
            answers = 2  # the entries of a small directory, and its end
            while reading:
                flights = [
                    (listing, [self._send(CMD_READDIR, listing.handle) for _ in range(answers)]) for listing in reading
                ]
                for listing, asked in flights:
                    for number in asked:
                        self._take(listing, number, room)
                closing += [self._send(CMD_CLOSE, listing.handle) for listing in reading if listing.is_over]
                reading = [listing for listing in reading if not listing.is_over]
                answers = min(2 * answers, _MOST_ANSWERS)
            for number in closing:
                self._result(number, "")
        return [listing if isinstance(listing, Exception) else listing.failure or listing.entries for listing in found]

    def follow(self, paths: Sequence[str], inside: str) -> list[RemoteStat | None]:
        """What links lead to, at most 64 of them; None for what is not below the directory `inside`, or nowhere.

        `inside` is a real path, as of `real_path`.
        """
        from paramiko.sftp import CMD_REALPATH, CMD_STAT

        base = inside.rstrip("/") + "/"
        with translated():
            numbers = [self._send(CMD_REALPATH, encoded(path)) for path in paths]
            targets = [self._name(number) for number in numbers]
            looks = [
                self._send(CMD_STAT, encoded(target)) if target is not None and target.startswith(base) else None
                for target in targets
            ]
            stats = [None if number is None else self._stat(number, "") for number in looks]
        return [None if isinstance(stat, Exception) else stat for stat in stats]

    def real_path(self, path: str) -> str:
        """A path with all links followed. Bytes that are not UTF-8 as lone surrogates."""
        from paramiko.sftp import CMD_REALPATH

        with translated(path):
            answer = self._result(self._send(CMD_REALPATH, encoded(path)), path)
            if isinstance(answer, Exception):
                raise answer
            if answer.get_int() != 1:
                raise ConnectionLost
            return text_in(answer)

    def check_readable(self, path: str, *, shown_as: str) -> None:
        """PermissionDenied, NotADirectory, … if a directory cannot be listed; errors call it `shown_as`."""
        from paramiko.sftp import CMD_OPENDIR

        with translated(shown_as):
            opened = self._result(self._send(CMD_OPENDIR, path.encode()), shown_as)
            if isinstance(opened, Exception):
                raise opened
            with self._closing(opened.get_binary(), shown_as):
                pass

    def _take(self, listing: _Listing, number: int, room: list[int]) -> None:
        answer = self._result(number, listing.shown_as)
        if listing.is_over:
            return
        if isinstance(answer, Exception):
            listing.failure = None if isinstance(answer, EOFError) else answer
            listing.is_over = True
            return
        entries = list(entries_in(answer))
        room[0] -= len(entries)
        room[1] -= sum(len(entry.name) for entry in entries)
        listing.entries += [entry for entry in entries if entry.name not in (".", "..")]
        listing.is_over = not entries or min(room) < 0

    def _name(self, number: int) -> str | None:
        answer = self._result(number, "")
        return None if isinstance(answer, Exception) or answer.get_int() != 1 else text_in(answer)
