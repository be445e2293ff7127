"""Runs as `runicorn history` and `runicorn events undo` find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runicorn.plugin import (
    IRREVERSIBLE_DECISIONS,
    REVERSIBLE_DECISIONS,
    FieldChange,
    HistoryPage,
    HistoryWanted,
    NoSuchRun,
    OpenedStore,
    Payload,
    RunObserved,
    RunPlace,
    Stream,
    history_page,
    is_run_key,
    run_meant,
    said_of,
    take_back_decision,
)
from runicorn_runs.history.labels import RUN_HISTORY
from runicorn_runs.history.telling import RunTeller


class Runs:
    """See `runicorn.plugin.Subjects`."""

    def find(self, store: OpenedStore, text: str) -> RunSubject | None:
        """The run that a text means; by its path also one that was removed for good."""
        try:
            key = store.model("runs").query(run_meant, text)
        except NoSuchRun:
            if not is_run_key(text):
                return None
            gone = RunSubject(store, text)
            return gone if gone.page(HistoryWanted(1)).entries else None
        store.catch_up(key)
        return RunSubject(store, key)


class RunSubject:
    """See `runicorn.plugin.Subject`."""

    reversible: frozenset[str] = REVERSIBLE_DECISIONS
    irreversible: Mapping[str, str] = IRREVERSIBLE_DECISIONS
    observed: frozenset[str] = frozenset({RunObserved.event_type})

    def __init__(self, store: OpenedStore, key: str) -> None:
        self._store = store
        self._key = key
        self.title = f"run {key}"

    def page(self, wanted: HistoryWanted) -> HistoryPage:
        """A page of its history."""
        model = self._store.model("runs")
        return model.query(history_page, self._store.log, RUN_HISTORY, RunTeller(), self._key, wanted)

    def take_back(self, changes: Sequence[FieldChange], note: str) -> list[Stream]:
        """Take a decision back. RunNotFound if the run is gone."""
        known = self._store.model("runs").query(said_of, self._key)
        streams: list[Stream] = []

        def record(*payloads: Payload) -> None:
            streams.append(self._store.record(*payloads))

        run = RunPlace(self._key, self._key.rpartition("/")[2])
        take_back_decision(self._store.root, run, known, changes, record)
        return streams
