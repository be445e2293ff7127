"""A kept page is what the query would find, whatever was committed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from runicorn_query import kept_pages, queries
from runicorn_query.experiments import View
from runicorn_query.filters import Filter
from runicorn_query.kept_pages import MOST_PAGES, KeptPages
from runicorn_query.ordering import Order
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event

NEWEST = queries.Wanted(Filter(), Order(), limit=50)


class Pages:
    """One store, its pages, and how often a page was read."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = base / "root"
        self.add(1)
        self.store = InProcess(self.root, base / "state")
        self.store.sweep()
        self.kept = KeptPages()
        self.reads = 0
        self.db = self.connect()
        read = queries.newest

        def counted(db: apsw.Connection, view: View, wanted: queries.Wanted) -> queries.Found:
            self.reads += 1
            return read(db, view, wanted)

        monkeypatch.setattr(kept_pages, "newest", counted)

    def connect(self) -> apsw.Connection:
        return apsw.Connection(self.store.db.filename, flags=apsw.SQLITE_OPEN_READONLY)

    def add(self, number: int) -> None:
        meta = {"created_at": 1000.0 + number, "hostname": "elsewhere"}
        make_run(
            self.root,
            f"p/n/runs/run_{number}",
            meta=meta,
            status={"status": "running"},
            events=metrics_event(2000.0, a=1),
        )

    def ask(self, wanted: queries.Wanted = NEWEST, silent_since: float = 0.0) -> list[dict[str, Any]]:
        view = View(self.root, silent_since)
        self.db.execute("BEGIN")
        page = self.kept.newest(self.db, view, wanted)
        found = queries.newest(self.db, view, wanted)
        self.db.execute("COMMIT")
        assert page.total == found.total
        assert page.next_cursor == (found.next and found.next.encode())
        return json.loads(bytes(page.experiments))


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    pages = Pages(tmp_path, monkeypatch)
    yield pages
    pages.db.close()
    pages.store.close()


def test_a_page_is_read_once_while_nothing_is_committed(pages: Pages) -> None:
    first = pages.ask()
    assert [run["id"] for run in first] == ["run_1"]
    assert pages.ask() == first
    assert pages.reads == 1


def test_a_commit_is_in_the_next_answer(pages: Pages) -> None:
    pages.ask()
    pages.add(2)
    pages.store.sweep()
    assert [run["id"] for run in pages.ask()] == ["run_2", "run_1"]
    assert pages.reads == 2


def test_pages_of_other_filters_are_others(pages: Pages) -> None:
    pages.ask()
    assert pages.ask(NEWEST._replace(filter=Filter(statuses=("finished",)))) == []
    assert [run["id"] for run in pages.ask(NEWEST._replace(filter=Filter(statuses=("running",))))] == ["run_1"]
    assert pages.reads == 3


def test_a_run_becomes_stale_though_nothing_is_committed(pages: Pages) -> None:
    assert "stale" not in pages.ask(silent_since=1999.5)[0]
    assert "stale" not in pages.ask(silent_since=2000.4)[0]
    assert pages.reads == 1
    assert pages.ask(silent_since=2000.6)[0]["stale"] is True


def test_another_connection_has_versions_of_its_own(pages: Pages) -> None:
    pages.ask()
    pages.db.close()
    pages.add(2)
    pages.store.sweep()
    pages.db = pages.connect()
    assert [run["id"] for run in pages.ask()] == ["run_2", "run_1"]


def test_the_number_of_kept_pages_is_bounded(pages: Pages) -> None:
    for limit in range(1, MOST_PAGES + 2):
        pages.ask(NEWEST._replace(limit=limit))
    pages.ask(NEWEST._replace(limit=2))
    assert pages.reads == MOST_PAGES + 1
    pages.ask(NEWEST._replace(limit=1))
    assert pages.reads == MOST_PAGES + 2
