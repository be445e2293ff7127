"""What a state directory holds: read model files, their tables and checkpoints. Only looks, also while a server runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import apsw
import msgspec

from runicorn.projection.generations import named


class ModelFileReport(msgspec.Struct, frozen=True):
    """One read model file."""

    file: str
    plugin: str
    generation: int
    ready: bool
    """False while it is being built; then its progress is the share of the log that it holds."""
    progress: float | None
    bytes: int
    """With its WAL."""
    free_bytes: int
    """Pages that nothing is in: what `runicorn state --compact` gives back, at least."""
    streams: int
    """Checkpoints."""
    applied_bytes: int
    """Of all streams."""
    rows: dict[str, int]
    """By table."""


class StateReport(msgspec.Struct, frozen=True):
    """A state directory."""

    bytes: int
    """Of everything in it."""
    models: list[ModelFileReport]
    unreadable: list[str]
    """Names of files that are no read model of a version that can be looked into, set aside ones included."""


def describe_state(state_dir: Path) -> StateReport:
    """Look into every read model. Counts all rows, so it takes a second or so for a large store."""
    total = 0
    models: list[ModelFileReport] = []
    unreadable: list[str] = []
    for path in sorted(item for item in state_dir.rglob("*") if item.is_file()):
        total += _size(path)
        if path.suffix == ".damaged":
            unreadable.append(path.name)
        elif path.parent == state_dir and named(path) is not None:
            try:
                models.append(_describe(path))
            except apsw.Error:
                unreadable.append(path.name)
    return StateReport(total, models, unreadable)


def _describe(path: Path) -> ModelFileReport:
    file = named(path)
    assert file is not None, path
    connection = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(1000)

        def number(sql: str) -> Any:
            return connection.execute(sql).fetchall()[0][0]

        meta = {str(key): value for key, value in connection.execute("SELECT key, value FROM meta")}
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall()
        rows: dict[str, int] = {}
        for (table,) in tables:
            with contextlib.suppress(apsw.SQLError):  # a virtual table whose module is not loaded here
                rows[str(table)] = number(f'SELECT count(*) FROM "{table}"')
        ready = bool(meta.get("ready"))
        return ModelFileReport(
            file=path.name,
            plugin=file.plugin,
            generation=file.generation,
            ready=ready,
            progress=None if ready else float(meta.get("progress") or 0.0),  # type: ignore[arg-type]  # a number, as `meta` is written
            bytes=_size(path) + _size(path.with_name(f"{path.name}-wal")),
            free_bytes=number("PRAGMA freelist_count") * number("PRAGMA page_size"),
            streams=rows.get("stream", 0),
            applied_bytes=number("SELECT ifnull(sum(offset), 0) FROM stream"),
            rows=rows,
        )
    finally:
        connection.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
