"""How long a query may take, and the functions of ours that its SQL calls."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakSet

import apsw

from runicorn.plugin import RunicornError

_LIMIT_S = 10.0
_extended: WeakSet[apsw.Connection] = WeakSet()
"""Connections that know our functions."""
_STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's virtual machine: about a millisecond


class QueryTimeout(RunicornError):
    """A query took more than 10 s and was given up."""

    def __init__(self) -> None:
        super().__init__("Database query failed: timeout")


@contextmanager
def limited(db: apsw.Connection) -> Generator[None]:
    """Give up a query inside after 10 s: QueryTimeout. Its SQL may call `casefold(text)`, best by `folded`."""
    deadline = time.monotonic() + _LIMIT_S
    if db not in _extended:  # once: SQLite prepares all statements again after it
        db.create_scalar_function("casefold", _casefold, 1, deterministic=True)
        _extended.add(db)
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except apsw.InterruptError:
        raise QueryTimeout from None
    finally:
        db.set_progress_handler(None)


def folded(sql: str) -> str:
    """The expression `sql`, which is text or null, case-folded."""
    # Of ASCII, SQLite's `lower` is that too: in half the time, and without Python's lock, which the event loop needs.
    return f"CASE WHEN octet_length({sql}) <> length({sql}) THEN casefold({sql}) ELSE lower({sql}) END"


def _casefold(*values: apsw.SQLiteValue) -> str | None:
    text = values[0]
    return text.casefold() if isinstance(text, str) else None
