"""Read model files as files: a copy of the one that serves, as it is at one moment, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import apsw
import msgspec

from runicorn.projection.base import Projection
from runicorn.projection.generations import FRAMEWORK_SCHEMA, ModelFile, is_ready, model_files
from runicorn.projection.model import DAMAGE

_LOOKS = 3
_MOST_DAMAGE = 10  # of what SQLite says about one file

Schema = dict[tuple[str, str], str]
"""The SQL that makes tables, indexes, triggers and views, by kind and name."""


class SchemaFails(Exception):
    """A plugin's tables cannot be made."""

    def __init__(self, error: apsw.Error) -> None:
        super().__init__(f"the plugin's tables cannot be made: {error}")


class Copied(msgspec.Struct):
    """What came of copying."""

    file: str = ""
    """Name of the file that serves, or should; empty if there is none."""
    damage: list[str] = []
    remarks: list[str] = []
    """Why there is nothing to copy."""


def copy_serving(state_dir: Path, plugin: str, own: str, target: Path) -> Copied:
    """Copy the file that serves of those with the fingerprint `own`; without one, `target` is not made."""
    for _ in range(_LOOKS):
        files = [file for file in model_files(state_dir, plugin) if file.fingerprint == own]
        serving = next((file.path for file in files if is_ready(file.path)), None)
        if serving is None:
            broken = [(file.path.name, reason) for file in files if (reason := _unreadable(file)) is not None]
            if broken:
                return Copied(broken[0][0], damage=[broken[0][1]])
            return Copied(remarks=["it is being built" if files else "there is none yet"])
        try:
            _back_up(serving, target)
        except apsw.CantOpenError:
            continue  # a newer one has taken over
        except DAMAGE as error:
            return Copied(serving.name, damage=[f"SQLite cannot read it: {error}"])
        return Copied(serving.name)
    return Copied(remarks=["it is replaced again and again"])


def schema_of(projections: Sequence[Projection]) -> Schema:
    """What a read model of these projections is made of. SchemaFails if it cannot be made."""
    db = apsw.Connection(":memory:")
    try:
        for script in (FRAMEWORK_SCHEMA, *(projection.schema for projection in projections)):
            db.execute(script).fetchall()
        return _objects(db)
    except apsw.Error as error:
        raise SchemaFails(error) from error
    finally:
        db.close()


def damage_of(path: Path, expected: Schema) -> list[str]:
    """What is wrong with a file whatever its rows say: its schema, its pages, its indexes."""
    db = apsw.Connection(os.fspath(path))
    try:
        found = _objects(db)
        missing, others = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        changed = sorted(one for one in expected.keys() & found.keys() if expected[one] != found[one])
        said = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({_MOST_DAMAGE})")]
    except DAMAGE as error:
        return [f"SQLite cannot read it: {error}"]
    finally:
        db.close()
    return [
        *(f"the {kind} {name} is missing" for kind, name in missing),
        *(f"the {kind} {name} is not one of the plugin's" for kind, name in others),
        *(f"the {kind} {name} was made by other SQL" for kind, name in changed),
        *(f"SQLite: {line.strip()}" for text in said if text != "ok" for line in text.splitlines()),
    ]


def _unreadable(file: ModelFile) -> str | None:
    """Why a file is no read model; None if it is one that is not ready."""
    try:
        connection = apsw.Connection(os.fspath(file.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(1000)
            rows = connection.execute("SELECT value FROM meta WHERE key = 'ready'").fetchall()
        finally:
            connection.close()
    except (*DAMAGE, apsw.SQLError) as error:
        return f"SQLite cannot read it: {error}"
    except apsw.Error:
        return None  # it went, or somebody is just making it
    return None if rows else "it does not say whether it is complete"


def _back_up(path: Path, target: Path) -> None:
    """All pages as they are at one moment; writers are not held up."""
    source = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        source.set_busy_timeout(5000)
        copy = apsw.Connection(os.fspath(target))
        try:
            with copy.backup("main", source, "main") as backup:
                backup.step()
        finally:
            copy.close()
    finally:
        source.close()


def _objects(db: apsw.Connection) -> Schema:
    rows = db.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    return {(str(kind), str(name)): str(sql) for kind, name, sql in rows}
