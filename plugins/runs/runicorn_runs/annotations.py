"""What people say about runs, as searches show it: tables → structs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import apsw
import msgspec

from runicorn.plugin import RunNotFound, parse_json

_SHOWN = (
    "run.run_id, coalesce(label ->> 'project', project), coalesce(label ->> 'name', name), tags, description,"
    " coalesce(label ->> 'created_at', created), archived, pinned,"
    " coalesce(annotated, nullif(max(ifnull(created, 0), ifnull(started, 0), ifnull(ended, 0),"
    " ifnull((SELECT last_ts FROM stream JOIN activity ON stream_id = stream.id WHERE stream.name = run.key), 0)), 0))"
    " AS updated"
)


class Annotated(msgspec.Struct, frozen=True):
    """A run in `GET /api/experiments/search`."""

    run_id: str = msgspec.field(name="id")
    project: str | None
    name: str | None
    tags: list[str]
    description: str | None
    created_at: float | None
    updated_at: float | None
    """When somebody said something about the run; if nobody did, when the run was active last."""
    archived: bool
    pinned: bool


class Wanted(msgspec.Struct, frozen=True):
    """Which runs a search is for; all conditions have to hold."""

    project: str | None
    tags: Sequence[str]
    """All of them."""
    text: str
    """Case-folded; a part of name, project, description, or the tags joined by spaces."""
    with_archived: bool


def annotated_runs(db: apsw.Connection, wanted: Wanted) -> list[Annotated]:
    """The listed runs that match, last updated first, then by id descending. Looks at every run."""
    conditions = ["listed"]
    parameters: list[apsw.SQLiteValue] = []
    if wanted.project is not None:
        conditions.append("coalesce(label ->> 'project', project) = ?")
        parameters.append(wanted.project)
    for tag in dict.fromkeys(wanted.tags):
        conditions.append("key IN (SELECT key FROM run_tag WHERE tag = ?)")
        parameters.append(tag)
    if not wanted.with_archived:
        conditions.append("NOT archived")
    rows = db.execute(
        f"SELECT {_SHOWN} FROM run WHERE {' AND '.join(conditions)} ORDER BY updated DESC NULLS LAST, run_id DESC, key",
        parameters,
    )
    return [run for run in map(_read, rows) if not wanted.text or any(wanted.text in said for said in _said(run))]


def annotated_run(db: apsw.Connection, run_id: str) -> Annotated:
    """The run that an id means. RunNotFound if it is not listed (any more)."""
    rows = db.execute(
        f"SELECT {_SHOWN} FROM run_named AS named JOIN run USING (key) WHERE named.run_id = ? AND named.listed",
        (run_id,),
    ).fetchall()
    if not rows:
        raise RunNotFound(run_id)
    return _read(rows[0])


def _read(row: Sequence[apsw.SQLiteValue]) -> Annotated:
    run_id, project, name, tags, description, created, archived, pinned, updated = cast(Sequence[Any], row)
    tags = parse_json(tags.encode())
    return Annotated(run_id, project, name, tags, description, created, updated, bool(archived), bool(pinned))


def _said(run: Annotated) -> Iterator[str]:
    for text in (run.name, run.project, run.description, " ".join(run.tags)):
        if text:
            yield text.casefold()
