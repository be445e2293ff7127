"""Kinds of damage to read models: rows of every table, pages, schema, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from runicorn.host import PluginHost, Selection
from runicorn.projection.meaning import meanings_of
from tests.faults.damages import STATE, Damage

REPLAY = "runicorn events replay --plugin"


def model_of(root: Path, plugin: str) -> Path:
    """The file of a plugin."""
    [path] = (root / STATE).glob(f"{plugin}-*.db")
    return path


def in_model(plugin: str, *statements: str) -> Callable[[Path], None]:
    """Run SQL in a read model."""

    def plant(root: Path) -> None:
        db = apsw.Connection(str(model_of(root, plugin)))
        for sql in statements:
            db.execute(sql).fetchall()
        db.close()

    return plant


def compared_tables(root: Path) -> list[tuple[str, str]]:
    """Every table with rows, by plugin."""
    found: list[tuple[str, str]] = []
    for plugin, projections in PluginHost.load(Selection.resolve()).collect("projections"):
        db = apsw.Connection(str(model_of(root, plugin.name)))
        for table in meanings_of(db, projections):
            if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall():
                found.append((plugin.name, table))
        db.close()
    return found


def change_row(plugin: str, table: str) -> Callable[[Path], None]:
    """One value of the last row is another."""

    def plant(root: Path) -> None:
        db = _open(root, plugin)
        column = _columns(db, table)[-1]
        value = f"CASE typeof({column}) WHEN 'integer' THEN {column} + 1 WHEN 'real' THEN {column} + 0.5"
        value += f" WHEN 'text' THEN {column} || '!' WHEN 'blob' THEN CAST({column} || x'00' AS BLOB) ELSE 5 END"
        _on_last(db, table, f"UPDATE {table} SET {column} = {value} WHERE ")

    return plant


def remove_row(plugin: str, table: str) -> Callable[[Path], None]:
    """The last row is gone."""
    return lambda root: _on_last(_open(root, plugin), table, f"DELETE FROM {table} WHERE ")


def add_row(plugin: str, table: str) -> Callable[[Path], None]:
    """There is one row more, like the last one but for its keys."""

    def plant(root: Path) -> None:
        db = _open(root, plugin)
        keys = _keys(db, table)
        for (index,) in db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique"', (table,)).fetchall():
            keys += [f'"{name}"' for (name,) in db.execute("SELECT name FROM pragma_index_info(?)", (index,))]
        values = [
            f"CASE typeof({name}) WHEN 'text' THEN {name} || '!' ELSE {name} + 1000 END" if name in keys else name
            for name in _columns(db, table)
        ]
        _on_last(db, table, f"INSERT INTO {table} SELECT {', '.join(values)} FROM {table} WHERE ")

    return plant


def _open(root: Path, plugin: str) -> apsw.Connection:
    return apsw.Connection(str(model_of(root, plugin)))


def _columns(db: apsw.Connection, table: str) -> list[str]:
    return [f'"{name}"' for (name,) in db.execute("SELECT name FROM pragma_table_info(?) ORDER BY cid", (table,))]


def _keys(db: apsw.Connection, table: str) -> list[str]:
    rows = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,))
    return [f'"{name}"' for (name,) in rows]


def _on_last(db: apsw.Connection, table: str, sql: str) -> None:
    keys = _keys(db, table) or ["rowid"]
    named = ", ".join(keys)
    order = ", ".join(f"{key} DESC" for key in keys)
    db.execute(f"{sql} ({named}) = (SELECT {named} FROM {table} ORDER BY {order} LIMIT 1)").fetchall()
    assert db.changes() == 1
    if ("run_touched",) in db.execute("SELECT name FROM sqlite_schema").fetchall():
        db.execute("DELETE FROM run_touched").fetchall()  # what the triggers noted would be mended at once
    db.close()


def in_file(change: Callable[[bytearray], Any]) -> Callable[[Path], None]:
    """Other bytes in the file of the plugin `runs`."""

    def plant(root: Path) -> None:
        path = model_of(root, "runs")
        data = bytearray(path.read_bytes())
        changed = change(data)
        path.write_bytes(data if changed is None else changed)

    return plant


def _zero_pages(data: bytearray) -> None:
    for page in range(3 * 8192, len(data), 5 * 8192):
        data[page : page + 8192] = bytes(len(data[page : page + 8192]))


def _renamed(root: Path) -> None:
    path = model_of(root, "runs")
    path.rename(path.with_name("runs-0123456789ab-000001.db"))


def _of_nobody(root: Path) -> None:
    model_of(root, "runs").with_name("weather-0123456789ab-000001.db").write_bytes(b"")


MODELS = [
    Damage("zeroed pages", in_file(_zero_pages), "runs-", "SQLite", REPLAY),
    Damage("truncated", in_file(lambda data: data[: len(data) // 2]), "runs-", "SQLite", REPLAY),
    Damage("not a database", in_file(lambda data: b"nonsense" * 1000), "runs-", "SQLite cannot read it", REPLAY),
    Damage("header overwritten", in_file(lambda data: b"\0" * 4096 + data[4096:]), "runs-", "SQLite", REPLAY),
    Damage(
        "missing table", in_model("runs", "DROP TABLE run_image"), "runs-", "the table run_image is missing", REPLAY
    ),
    Damage(
        "missing index", in_model("runs", "DROP INDEX run_newest"), "runs-", "the index run_newest is missing", REPLAY
    ),
    Damage(
        "missing trigger", in_model("runs", "DROP TRIGGER run_updated"), "runs-", "trigger run_updated is m", REPLAY
    ),
    Damage("missing view", in_model("runs", "DROP VIEW run_named"), "runs-", "the view run_named is missing", REPLAY),
    Damage(
        "a table too many",
        in_model("runs", "CREATE TABLE extra(a)"),
        "runs-",
        "extra is not one of the plugin's",
        REPLAY,
    ),
    Damage(
        "a column too many",
        in_model("artifacts", "ALTER TABLE artifact ADD COLUMN more"),
        "artifacts-",
        "the table artifact was made by other SQL",
        REPLAY,
    ),
    Damage(
        "an index without its rows",
        in_model(
            "artifacts",
            "PRAGMA writable_schema = on",
            "DELETE FROM sqlite_schema WHERE name = 'artifact_named'",
            "INSERT INTO sqlite_schema SELECT 'index', 'artifact_named', 'artifact',"
            " (SELECT rootpage FROM sqlite_schema WHERE name = 'artifact_version_named'),"
            " 'CREATE INDEX artifact_named ON artifact(name, type)'",
        ),
        "artifacts-",
        "SQLite",
        REPLAY,
    ),
    Damage(
        "checkpoint too low",
        in_model("runs", "UPDATE stream SET offset = offset - 30 WHERE name LIKE '%aaaaaa'"),
        "runs-",
        "stream name='p/n/runs/20260101_000000_aaaaaa': says offset=",
        REPLAY,
    ),
    Damage(
        "checkpoint at zero",
        in_model("runs", "UPDATE stream SET offset = 0, size = 0 WHERE name LIKE '%aaaaaa'"),
        "runs-",
        "",
        REPLAY,
    ),
    Damage("checkpoint removed", in_model("runs", "DELETE FROM stream WHERE name LIKE '%aaaaaa'"), "runs-", "", REPLAY),
    Damage(
        "checkpoint of a stream that never was",
        in_model("runs", "INSERT INTO stream(name, offset) VALUES ('runs/never', 0)", "UPDATE activity SET events = 7"),
        "runs-",
        "activity",
        REPLAY,
    ),
    Damage(
        "count of bad lines", in_model("runs", "UPDATE stream SET bad = 7"), "runs-", "says bad=7, the log says", REPLAY
    ),
    Damage(
        "does not say whether it is complete",
        in_model("runs", "DELETE FROM meta"),
        "runs-",
        "does not say whether",
        REPLAY,
    ),
    Damage(
        "not complete yet", in_model("runs", "UPDATE meta SET value = 0 WHERE key = 'ready'"), "read", "being built"
    ),
    Damage("of another version", _renamed, "read model of runs", "of another version of the plugin"),
    Damage("of a plugin that is not there", _of_nobody, "read model of weather", "the plugin is not there"),
]
