"""What the commands read of a run."""

from __future__ import annotations

import os
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn.plugin import LOGS_FILE, OpenedStore, open_to_read, parse_json, run_meant
from runicorn_query import queries
from runicorn_query.experiments import Experiment, View
from runicorn_query.search.blocks import lines_of, text_of

_TAIL_BYTES = 256 << 10


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
    return store.model("runs").query(run_meant, text)


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
