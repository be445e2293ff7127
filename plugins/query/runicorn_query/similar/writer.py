"""Keeps the vectors of all runs level with the list of runs: the only writer of their file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import apsw

from runicorn.plugin import RUNNING, FileLog, ModelReader, dump_json
from runicorn_query.index_database import transaction
from runicorn_query.similar.run_vector import FACTS, RunFacts, run_vector
from runicorn_query.similar.vector_file import encode_curves, open_to_write

logger = logging.getLogger("runicorn.query")

_AT_ONCE = 200  # in one transaction


class VectorWriter:
    """`runs` is the read model of the plugin `runs`. `should_stop` is asked after every run."""

    def __init__(
        self, log: FileLog, state_dir: Path, runs: ModelReader, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._log = log
        self._runs = runs
        self._should_stop = should_stop
        self._db = open_to_write(state_dir)
        self._seen: tuple[str, int] | None = None
        self._failed: set[str] = set()  # runs that were spoken of

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def sweep(self, progress: Callable[[int], None] = lambda done: None) -> None:
        """Compare every run, and forget those that are gone. `progress` gets the number of runs looked at."""
        seen = self._runs.counter("runs")
        last = 0
        while page := self._runs.query(_page, last, _AT_ONCE):
            last = page[-1][0]
            if not self._look_at([facts for _, facts in page]):
                return
            progress(len(page))
        self._forget_gone()
        self._seen = seen

    def update(self) -> None:
        """Look at the runs whose row changed since, and at those that are going."""
        counter = self._runs.counter("runs")
        if self._seen is None or counter[0] != self._seen[0]:
            self.sweep()
        elif self._look_at(self._runs.query(_changed, self._seen[1])):
            self._seen = counter

    def _look_at(self, facts: Sequence[RunFacts]) -> bool:
        """False if it was told to stop."""
        for start in range(0, len(facts), _AT_ONCE):
            with transaction(self._db):
                for found in facts[start : start + _AT_ONCE]:
                    if self._should_stop():
                        return False
                    self._describe(found)
        return True

    def _describe(self, facts: RunFacts) -> None:
        try:
            self._write(facts)
        except (apsw.Error, OSError):
            raise  # it concerns the files, and not this run
        except Exception:  # whatever a run holds, the others get their vectors
            if facts.key not in self._failed:
                self._failed.add(facts.key)
                logger.exception("the run %s has no vector, and is not compared with others", facts.key)

    def _write(self, facts: RunFacts) -> None:
        known = self._db.execute("SELECT id, events, digest, listed FROM run WHERE key = ?", (facts.key,)).fetchall()
        described = facts.described
        listed = int(facts.listed)
        if known and known[0][1:3] == described[1:]:
            if known[0][3] != listed:
                self._db.execute("UPDATE vectors SET listed = ? WHERE rowid = ?", (listed, known[0][0]))
                self._db.execute("UPDATE run SET listed = ? WHERE id = ?", (listed, known[0][0]))
            return
        vector = run_vector(self._log, facts)
        self._remove(facts.key)
        self._db.execute(
            "INSERT INTO run(key, events, digest, listed, curves) VALUES (?, ?, ?, ?, ?)",
            (*described, listed, encode_curves(vector.features)),
        )
        row = (self._db.last_insert_rowid(), vector.blob(), listed)
        self._db.execute("INSERT INTO vectors(rowid, vector, listed) VALUES (?, ?, ?)", row)

    def _forget_gone(self) -> None:
        last = 0
        page = "SELECT id, key FROM run WHERE id > ? ORDER BY id LIMIT ?"
        while rows := self._db.execute(page, (last, _AT_ONCE)).fetchall():
            last = cast(int, rows[-1][0])
            gone = self._runs.query(_missing, [str(key) for _, key in rows])
            if gone:
                with transaction(self._db):
                    for key in gone:
                        self._remove(key)

    def _remove(self, key: str) -> None:
        self._db.execute("DELETE FROM vectors WHERE rowid IN (SELECT id FROM run WHERE key = ?)", (key,))
        self._db.execute("DELETE FROM run WHERE key = ?", (key,))


def _page(runs: apsw.Connection, after: int, limit: int) -> list[tuple[int, RunFacts]]:
    """Runs in the order of the table, with the place of each."""
    rows = runs.execute(f"{FACTS} WHERE run.rowid > ? ORDER BY run.rowid LIMIT ?", (after, limit))
    return [(cast(int, place), RunFacts(*row)) for *row, place in rows]  # type: ignore[arg-type]  # columns of the tuple


def _changed(runs: apsw.Connection, since: int) -> list[RunFacts]:
    rows = [
        *runs.execute(f"{FACTS} WHERE changed > ?", (since,)),
        *runs.execute(f"{FACTS} WHERE listed AND status = ? AND changed <= ?", (RUNNING, since)),
    ]
    return [RunFacts(*row[:-1]) for row in rows]  # type: ignore[arg-type]  # the columns are those of the tuple


def _missing(runs: apsw.Connection, keys: list[str]) -> list[str]:
    """Those keys that no run has."""
    found = runs.execute(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.key = value)",
        (dump_json(keys).decode(),),
    )
    return [str(key) for (key,) in found]
