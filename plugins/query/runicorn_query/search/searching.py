"""A search over everything: first what the list of runs says of them, then their logs, page by page."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import apsw
import msgspec

from runicorn.plugin import BadInput, dump_json, parse_json
from runicorn_query.language.sql import DESCRIBED, NOTED, NOTES, TAGGED
from runicorn_query.limits import limited
from runicorn_query.search.hits import KINDS, Hit, Kind, LogsState, SearchAnswer, snippet_of
from runicorn_query.search.index_file import state_of
from runicorn_query.search.log_search import FIRST, LineHit, LogSearch
from runicorn_query.search.needle import Needle

_CURSOR = re.compile(r"r:([0-9]{1,9})|l:([0-9]{1,18}):([0-9]{1,9})")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for. BadInput if something in it is wrong."""

    query: str
    kinds: Collection[Kind] = KINDS
    project: str | None = None
    statuses: tuple[str, ...] = ()
    """Any of them; empty: all."""
    run: str | None = None
    """Only this run, by its key."""
    limit: int = 20
    cursor: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise BadInput(f"Invalid value for kind: must be among {', '.join(KINDS)}")
        if self.cursor is not None and not _CURSOR.fullmatch(self.cursor):
            raise BadInput("Invalid value for cursor: must be what an earlier answer gave as `next`")

    def wants(self, run: _Run) -> bool:
        """Whether the filters let a run pass."""
        return (
            run.listed
            and (self.project is None or run.project == self.project)
            and (not self.statuses or run.status in self.statuses)
        )


class _Run(NamedTuple):
    run_id: str
    project: str | None
    name: str | None
    status: str
    created: float | None
    listed: bool


_RUN = "run_id, project, name, status, created, listed"


def search(runs: apsw.Connection, index: apsw.Connection | None, root: Path, request: Request) -> SearchAnswer:
    """One page. `runs` is the read model of the plugin `runs`, `index` the index of logs, None if there is none."""
    started = time.perf_counter()
    needle = Needle(request.query)
    at = _CURSOR.fullmatch(request.cursor or "r:0")
    hits: list[Hit] = []
    following: str | None = None
    is_truncated = False
    wants_logs = "log" in request.kinds and index is not None
    if at is not None and at[1] is not None:
        skipped = int(at[1])
        for hit in _run_hits(runs, needle, request, skipped):
            if len(hits) == request.limit:
                following = f"r:{skipped + len(hits)}"
                break
            hits.append(hit)
    if following is None and wants_logs and index is not None:
        place = FIRST if at is None or at[2] is None else (int(at[2]), int(at[3]))
        left = request.limit - len(hits)
        if left:
            lines = _Lines(runs, request)
            found = LogSearch(index, root, needle, lines.is_wanted).find(left, place, only=request.run)
            hits += [lines.hit(line, needle) for line in found.hits]
            is_truncated = found.is_truncated
            following = None if found.next is None else "l:{}:{}".format(*found.next)
        else:
            following = "l:{}:{}".format(*FIRST)
    return SearchAnswer(
        query=request.query,
        hits=hits,
        next=following,
        truncated=is_truncated,
        logs=_logs_state(index),
        query_time_ms=round(1000 * (time.perf_counter() - started), 2),
    )


class _Lines:
    """The runs whose logs have hits, each asked for once."""

    def __init__(self, runs: apsw.Connection, request: Request) -> None:
        self._runs = runs
        self._request = request
        self._known: dict[str, _Run] = {}

    def is_wanted(self, key: str) -> bool:
        """Whether the filters let the run with this key pass."""
        rows = self._runs.execute(f"SELECT {_RUN} FROM run WHERE key = ?", (key,)).fetchall()
        if not rows:
            return False
        run = self._known[key] = _Run(*rows[0])  # type: ignore[arg-type]  # the columns are those of the tuple
        return self._request.wants(run)

    def hit(self, line: LineHit, needle: Needle) -> Hit:
        """The answer for a line of a log that is wanted."""
        run = self._known[line.key]
        snippet, highlights = snippet_of(line.text, needle)
        return Hit(
            kind="log",
            run_id=run.run_id,
            project=run.project,
            name=run.name,
            status=run.status,
            created_at=run.created,
            snippet=snippet,
            highlights=highlights,
            line=line.line,
            offset=line.offset,
            clock=line.clock.time,
            time=line.clock.at(run.created, line.first),
        )


_CONDITIONS: dict[Kind, str] = {
    "name": "instr(ifnull(b.name_fold, b.name), :needle)",
    "project": "instr(ifnull(b.project_fold, b.project), :needle)",
    "tag": f"b.run IN ({TAGGED.format(needle=':needle')})",
    "description": f"b.run IN ({DESCRIBED.format(needle=':needle')})",
    "note": f"b.run IN ({NOTED.format(needle=':needle')})",
    "id": "instr(ifnull(b.run_id_fold, b.run_id), :needle)",
}
"""About `run_brief b`, whose rows are narrow: every one of them is looked at."""


def _run_hits(runs: apsw.Connection, needle: Needle, request: Request, skip: int) -> Iterator[Hit]:
    """Runs with the text in one of the wanted attributes, the newest first, without the first `skip`."""
    conditions = [condition for kind, condition in _CONDITIONS.items() if kind in request.kinds]
    if not conditions:
        return
    parameters: dict[str, apsw.SQLiteValue] = {"needle": needle.folded, "limit": request.limit + 1, "skip": skip}
    where = ["b.listed", f"({' OR '.join(conditions)})"]
    if request.project is not None:
        where.append("b.project = :project")
        parameters["project"] = request.project
    if request.statuses:
        where.append("b.status IN (SELECT value FROM json_each(:statuses))")
        parameters["statuses"] = dump_json(list(request.statuses)).decode()
    if request.run is not None:
        where.append("b.run = (SELECT id FROM run WHERE key = :run)")
        parameters["run"] = request.run
    with limited(runs):
        rows = runs.execute(_hits_statement(where), parameters).fetchall()
    for row in rows:
        run = _Run(*row[:-3])  # type: ignore[arg-type]  # the columns are those of the tuple
        tags, description, number = cast("tuple[str, str | None, int]", row[-3:])
        for kind, text in _texts(run, tags, description, _notes(runs, number)):
            if kind in request.kinds and needle.places(text):
                snippet, highlights = snippet_of(text, needle)
                yield Hit(
                    kind=kind,
                    run_id=run.run_id,
                    project=run.project,
                    name=run.name,
                    status=run.status,
                    created_at=run.created,
                    snippet=snippet,
                    highlights=highlights,
                )
                break


def _hits_statement(where: Sequence[str]) -> str:
    return (
        f"SELECT {_RUN}, tags, description, id FROM run WHERE id IN (SELECT b.run FROM run_brief AS b"
        f" WHERE {' AND '.join(where)} ORDER BY b.created DESC, b.run DESC LIMIT :limit OFFSET :skip)"
        " ORDER BY created DESC, id DESC"
    )


def _notes(runs: apsw.Connection, number: int) -> Iterator[str]:
    for (note,) in runs.execute(f"SELECT v.txt FROM {NOTES} AND v.run = ? ORDER BY v.key", (number,)).fetchall():
        yield str(note)


def _texts(run: _Run, tags: str, description: str | None, notes: Iterable[str]) -> Iterator[tuple[Kind, str]]:
    yield "name", run.name or ""
    yield "project", run.project or ""
    for tag in parse_json(tags.encode()):
        yield "tag", str(tag)
    yield "description", description or ""
    for note in notes:
        yield "note", note
    yield "id", run.run_id


def _logs_state(index: apsw.Connection | None) -> LogsState:
    if index is None:
        return LogsState("missing")
    state = state_of(index)
    return LogsState(
        "ready" if state.is_complete else "building", state.files, state.log_bytes, state.index_bytes, state.left_out
    )
