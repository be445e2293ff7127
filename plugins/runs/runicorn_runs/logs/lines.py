"""Log lines from a growing sequence of bytes.

`\\n`, `\\r\\n` and a lone `\\r` end a line, nothing else does. A line is one frame: its text without the terminator, invalid
UTF-8 dropped. Blank and white-space-only lines are no frames. That makes a `\\r` at the end of a read harmless: whether or
not a `\\n` follows, the line before it is complete, and the empty line between the two would not be sent.
"""

from __future__ import annotations

import codecs

PIECE_BYTES = 1 << 20
"""Longer lines are sent in pieces of this size (less up to 3 bytes: characters stay whole)."""


class LineSplitter:
    """Cuts bytes, in whatever parts they arrive, into frames. Holds at most one piece of an unterminated line.

    `piece_bytes` is at least 4, the length of a character.
    """

    def __init__(self, *, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._pending = b""
        self._flushed = True

    @property
    def holds_text(self) -> bool:
        """Whether `flush` may return something: an unterminated line has grown since the last flush."""
        return not self._flushed

    def feed(self, data: bytes) -> list[str]:
        """The frames that `data` completes, in order."""
        *lines, rest = (self._pending + data.replace(b"\r", b"\n")).split(b"\n")
        frames: list[str] = []
        for line in lines:
            self._add(frames, self._cut(frames, line))
        self._pending = self._cut(frames, rest)
        self._flushed = not self._pending
        return frames

    def flush(self) -> list[str]:
        """The unterminated line as a frame, if it has any text. What follows it is a new frame.

        An incomplete character at its end stays for the next frame; white space stays, as the beginning of a line.
        """
        self._flushed = True
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        text = decoder.decode(self._pending)
        if is_blank(text):
            return []
        self._pending = decoder.getstate()[0]
        return [text]

    def close(self) -> list[str]:
        """Like `flush`, at the end of the file: what comes next belongs to another one."""
        frames = self.flush()
        self._pending = b""
        return frames

    def _cut(self, frames: list[str], line: bytes) -> bytes:
        # What is left is never empty unless the line is: a line of exactly one piece is one frame.
        start = 0
        while len(line) - start > self._piece_bytes:
            end = _character_start(line, start + self._piece_bytes)
            self._add(frames, line[start:end])
            start = end
        return line[start:] if start else line

    @staticmethod
    def _add(frames: list[str], line: bytes) -> None:
        text = line.decode("utf-8", "ignore")
        if not is_blank(text):
            frames.append(text)


def is_blank(text: str) -> bool:
    """Whether a line is not sent: nothing in it but white space."""
    return not text or text.isspace()


def _character_start(data: bytes, end: int) -> int:
    """The last offset up to `end` where a character starts; `end` itself if no valid one lies across it."""
    for start in range(end, max(end - 4, 0), -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return end
