"""Pages of the newest runs, kept encoded for as long as nothing was committed.

Clients ask for the same pages again and again. Whether anything was committed since a page was made SQLite knows (`PRAGMA
data_version`), and nothing has to tell it; that is looked up in the transaction in which the page would be read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple, cast
from weakref import ReferenceType, ref

import apsw
import msgspec

from runicorn.plugin import Store
from runicorn_query.experiments import View
from runicorn_query.queries import Wanted, newest

MOST_PAGES = 32
"""Of a worker; the one that nobody has asked for longest makes room. A page of 50 runs takes 40 KB."""

_FRESH_S = 1.0  # a run becomes stale by time alone, which no commit tells

_encode = msgspec.json.Encoder().encode


class KeptPage(NamedTuple):
    """A page of a list, and what there is on all of them."""

    experiments: msgspec.Raw
    """A JSON array of `Experiment`."""
    total: int
    next_cursor: str | None


class _Made(NamedTuple):
    page: KeptPage
    data_version: int
    silent_since: float

    def is_current(self, data_version: int, view: View) -> bool:
        return self.data_version == data_version and 0.0 <= view.silent_since - self.silent_since < _FRESH_S


class KeptPages:
    """The pages that were asked for lately of one store. For the event loop's connection; not safe for threads."""

    def __init__(self, store: Store | None = None) -> None:
        self._pages: OrderedDict[Wanted, _Made] = OrderedDict()
        self._connection: ReferenceType[apsw.Connection] | None = None
        """Versions of the data are numbers of one connection."""

    def newest(self, db: apsw.Connection, view: View, wanted: Wanted) -> KeptPage:
        """What `queries.newest` finds, inside of a transaction. A run may be called stale up to a second late."""
        if self._connection is None or self._connection() is not db:
            self._pages.clear()
            self._connection = ref(db)
        data_version = cast(int, db.execute("PRAGMA data_version").fetchall()[0][0])
        made = self._pages.get(wanted)
        if made is not None and made.is_current(data_version, view):
            self._pages.move_to_end(wanted)
            return made.page
        found = newest(db, view, wanted)
        cursor = None if found.next is None else found.next.encode()
        page = KeptPage(msgspec.Raw(_encode(found.experiments)), found.total, cursor)
        self._pages[wanted] = _Made(page, data_version, view.silent_since)
        self._pages.move_to_end(wanted)
        if len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return page
