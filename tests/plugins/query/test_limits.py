"""How long a query may take, and how text is folded in it."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runicorn_query import limits
from runicorn_query.limits import QueryTimeout, folded, limited

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000) SELECT count(*) FROM n"


@pytest.fixture
def db() -> apsw.Connection:
    return apsw.Connection(":memory:")


def test_a_query_that_takes_too_long_is_given_up(db: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_LIMIT_S", 0.02)
    with pytest.raises(QueryTimeout) as given_up, limited(db):
        db.execute(ENDLESS).fetchall()
    assert (given_up.value.status, str(given_up.value)) == (500, "Database query failed: timeout")
    assert db.execute(LONG).fetchall() == [(300_000,)], "the limit ends with the query"


def test_a_query_within_the_limit_is_answered(db: apsw.Connection) -> None:
    with limited(db):
        assert db.execute(LONG).fetchall() == [(300_000,)]


def test_the_limit_holds_for_all_statements_of_a_query_together(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LIMIT_S", 0.05)

    def endlessly() -> None:
        with limited(db):
            while True:
                db.execute(LONG).fetchall()

    with pytest.raises(QueryTimeout):
        endlessly()


def test_other_errors_of_a_query_are_no_timeout(db: apsw.Connection) -> None:
    with pytest.raises(apsw.SQLError), limited(db):
        db.execute("SELECT nothing")


@given(text=st.text())
@example(text="A\0B")
@example(text="\0")
def test_text_is_folded_as_python_does(text: str) -> None:
    db = apsw.Connection(":memory:")
    with limited(db):
        assert db.execute(f"SELECT {folded('?1')}, {folded('NULL')}", (text,)).fetchall() == [(text.casefold(), None)]


def test_ascii_is_folded_without_python(db: apsw.Connection) -> None:
    seen: list[object] = []
    with limited(db):
        db.create_scalar_function("casefold", seen.append, 1)
        db.execute(f"SELECT {folded('column1')} FROM (VALUES ('Abc'), ('É'), (NULL), (''))").fetchall()
    assert seen == ["É"]
