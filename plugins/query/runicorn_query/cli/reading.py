"""What the commands read of a run."""

from __future__ import annotations

import os
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn.plugin import LOGS_FILE, NotFound, OpenedStore, open_to_read, parse_json, shown
from runicorn_query import queries
from runicorn_query.experiments import Experiment, View
from runicorn_query.search.blocks import lines_of, text_of

_TAIL_BYTES = 256 << 10
_CANDIDATES = 10


class RunAmbiguous(NotFound):
    """Several runs have an id that begins so."""

    def __init__(self, text: str, ids: list[str]) -> None:
        super().__init__(f"{shown(text)} may be any of these runs:\n  " + "\n  ".join(ids))


class NoSuchRun(NotFound):
    """No run has an id that begins so."""

    def __init__(self, text: str) -> None:
        super().__init__(f"No run has the id {shown(text)}, or one that begins so. `runicorn runs` lists them.")


class MetricFigures(msgspec.Struct, frozen=True):
    """A metric in figures."""

    name: str
    count: int
    last: float | None
    min: float | None
    max: float | None


class RunView(NamedTuple):
    """A run with all that is said about it."""

    key: str
    experiment: Experiment
    config: dict[str, object]
    summary: dict[str, object]
    metrics: list[MetricFigures]
    hostname: str | None


def find(store: OpenedStore, text: str) -> str:
    """The key of the run that an id, the beginning of one, or a path below the root means. NotFound if not exactly one is."""
    return store.model("runs").query(_find, text)


def view(store: OpenedStore, key: str) -> RunView:
    """What is known of a run."""
    return store.model("runs").query(_view, store, key)


def last_lines(store: OpenedStore, key: str, count: int) -> list[str]:
    """The last lines of a run's log that are not blank, in order."""
    try:
        with open_to_read(store.root / key / LOGS_FILE) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return []
    lines = [text_of(line) for line in lines_of(data)]
    if size > _TAIL_BYTES:
        lines = lines[1:]  # a part of one
    return [line for line in lines if line.strip()][-count:] if count else []


def _find(db: apsw.Connection, text: str) -> str:
    exact = db.execute("SELECT key FROM run_named WHERE run_id = ?1 UNION SELECT key FROM run WHERE key = ?1", (text,))
    for (key,) in exact.fetchall():
        return str(key)
    begun = db.execute(
        "SELECT run_id FROM run WHERE run_id >= ?1 AND run_id < ?2 GROUP BY run_id"
        " ORDER BY max(listed) DESC, run_id DESC LIMIT ?3",
        (text, f"{text}\U0010ffff", _CANDIDATES),
    )
    ids = [str(run_id) for (run_id,) in begun] if text else []
    if not ids:
        raise NoSuchRun(text)
    if len(ids) > 1:
        raise RunAmbiguous(text, ids)
    return str(db.execute("SELECT key FROM run_named WHERE run_id = ?", ids).fetchall()[0][0])


def _view(db: apsw.Connection, store: OpenedStore, key: str) -> RunView:
    experiment, _ = queries.experiment(db, View.of(store), key)
    row = db.execute("SELECT id, config, summary, hostname FROM run WHERE key = ?", (key,)).fetchall()[0]
    run, config, summary, hostname = cast("tuple[int, str, bytes, str | None]", row)
    metrics = db.execute(
        "SELECT k.name, m.cells, m.last, m.low, m.high FROM run_metric AS m JOIN run_value_key AS k ON k.id = m.key"
        " WHERE m.run = ? ORDER BY k.name",
        (run,),
    )
    return RunView(
        key,
        experiment,
        parse_json(config.encode("utf-8", "replace")),
        parse_json(bytes(summary)),
        [MetricFigures(*metric) for metric in metrics],  # type: ignore[arg-type]  # the columns are those of the struct
        hostname,
    )
