"""Readers of a file that is made anew: none goes on with the old one."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from runicorn_query.reader import SideFileReader


def made(path: Path, content: str) -> None:
    """Put a new database in the place of `path`, as an index that is made anew does."""
    new = path.with_suffix(".new")
    db = apsw.Connection(str(new))
    db.execute("CREATE TABLE t(content)")
    db.execute("INSERT INTO t VALUES (?)", (content,))
    db.close()
    os.replace(new, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "side.db"


@pytest.fixture
def reader(path: Path) -> SideFileReader:
    def opened() -> apsw.Connection | None:
        return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) if path.exists() else None

    return SideFileReader(path, opened)


def content(db: apsw.Connection | None) -> str | None:
    return None if db is None else str(db.execute("SELECT content FROM t").fetchone()[0])  # type: ignore[index]  # there is a row


def test_without_a_file_there_is_no_connection_and_with_one_there_is(path: Path, reader: SideFileReader) -> None:
    with reader.connection() as db:
        assert db is None
    made(path, "first")
    with reader.connection() as db:
        assert content(db) == "first"
    path.unlink()
    with reader.connection() as db:
        assert db is None


def test_a_file_that_is_made_anew_while_it_is_read_is_read_the_next_time(path: Path, reader: SideFileReader) -> None:
    made(path, "old")
    with reader.connection() as one:
        made(path, "new")
        with reader.connection() as other:
            assert content(other) == "new"
        assert content(one) == "old"
    for _ in range(3):
        with reader.connection() as first, reader.connection() as second:
            assert (content(first), content(second)) == ("new", "new")
    reader.close()
