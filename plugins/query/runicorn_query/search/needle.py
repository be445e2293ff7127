"""What is searched for, and the blocks that may hold it.

A text is found in any case: both sides are case-folded, which maps each character alone. FTS5 knows trigrams; a text of
three characters or more is in a block only if all its trigrams are. Shorter texts are looked up in the list of trigrams
that begin with them: each block ends in newlines, so every character of it begins one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import apsw

GRAM = 3
_MOST_GRAMS = 24  # of a long text; more would cost more than the blocks that they rule out
_MOST_BEGINNINGS = 256  # trigrams of a short text; one that has more is in nearly every block


def indexed_text(data: bytes) -> str:
    """What FTS5 is given of a block."""
    return _as_indexed(f"{data.decode('utf-8', 'ignore').casefold()}\n\n")


class Needle:
    """A text to search for."""

    def __init__(self, text: str) -> None:
        self.folded = text.casefold()
        is_plain = _PLAIN.fullmatch(self.folded) is not None
        self._bytes = self.folded.encode("utf-8", "replace") if is_plain else b""
        """What to look for in lower-cased bytes; empty if case-folding takes more than that."""
        self._others = [c.encode() for c in _FOLD_TO_ASCII if set(c.casefold()) & set(self.folded)]

    def is_in(self, data: bytes) -> bool:
        """Whether the text of these bytes of a log holds it."""
        if self._bytes:
            if self._bytes in data.lower():
                return True
            if data.isascii() or (_is_valid(data) and not self._may_fold_to(data)):
                return False
        return self.folded in data.decode("utf-8", "ignore").casefold()

    def _may_fold_to(self, data: bytes) -> bool:
        """Whether there is a character in UTF-8 `data` that is no ASCII, and folds to some of the needle's."""
        rest = data.translate(None, _ASCII)
        return any(other in rest for other in self._others)

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where it is in a text: first character, and the one behind the last; places do not overlap."""
        folded = text.casefold()
        found: list[tuple[int, int]] = []
        at = folded.find(self.folded)
        if at < 0:
            return found
        if len(folded) == len(text):
            positions = range(len(text) + 1)
        else:  # such as `ß`, which is two characters when folded
            positions = [index for index, c in enumerate(text) for _ in c.casefold()] + [len(text)]
        while at >= 0:
            end = at + len(self.folded)
            found.append((positions[at], max(positions[end - 1] + 1, positions[at] + 1)))
            at = folded.find(self.folded, end)
        return found

    def candidates(self, db: apsw.Connection, low: int, high: int) -> Iterator[int]:
        """Ids of the blocks with `low <= id < high` that may hold it, the greatest first: all that do, and maybe others."""
        expression = self._expression(db)
        if expression is None:
            sql, parameters = "SELECT id FROM block WHERE id >= ? AND id < ? ORDER BY id DESC", (low, high)
        elif not expression:
            return
        else:
            sql = "SELECT rowid FROM grams WHERE grams MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC"
            parameters = (expression, low, high)
        for (block_id,) in db.execute(sql, parameters):
            yield cast(int, block_id)

    def _expression(self, db: apsw.Connection) -> str | None:
        """For `MATCH`; empty if no block can hold it, None if nearly every block may."""
        text = _as_indexed(self.folded)
        if len(text) >= GRAM:
            grams = dict.fromkeys(text[at : at + GRAM] for at in range(len(text) - GRAM + 1))
            every = -(-len(grams) // _MOST_GRAMS)
            return " AND ".join(_quoted(gram) for gram in list(grams)[::every])
        rows = db.execute(
            "SELECT term FROM temp.gram WHERE term >= ? AND term < ? LIMIT ?",
            (text, _behind(text), _MOST_BEGINNINGS + 1),
        ).fetchall()
        return None if len(rows) > _MOST_BEGINNINGS else " OR ".join(_quoted(str(term)) for (term,) in rows)


# ASCII, and scripts without case: no other character folds to one of these, but for those below.
_PLAIN = re.compile("[\0-\x7f\u2e80-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]+")
_ASCII = bytes(range(0x80))
_FOLD_TO_ASCII = (
    "\u00df\u0130\u0149\u017f\u01f0\u1e96\u1e97\u1e98\u1e99\u1e9a\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
)


def _is_valid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _behind(text: str) -> str:
    """The least text that is greater than all that begin with `text`, in the order of code points."""
    head, last = text[:-1], ord(text[-1])
    if last == 0x10FFFF:
        return f"{text}\U0010ffff\U0010ffff"
    return head + chr(0xE000 if last == 0xD7FF else last + 1)


def _as_indexed(text: str) -> str:
    # FTS5 passes over NUL, so that its neighbours would be a trigram, and takes two characters for U+FFFD.
    return text.replace("\0", "\ufffd").replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'
