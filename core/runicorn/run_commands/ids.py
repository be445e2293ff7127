"""Ids of runs as clients send them: which are accepted, and which runs they mean."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from runicorn.errors import BadInput, shown
from runicorn.files import dump_json
from runicorn.names import is_run_id
from runicorn.run_commands.recycling import RunPlace
from runicorn.run_lookup import LIST_ORDER
from runicorn.store import Store


class InvalidRunId(BadInput):
    """Something in a list of ids is no id: it neither has the form of one, nor does a run have it."""

    def __init__(self, value: object) -> None:
        text = value if isinstance(value, str) else dump_json(value).decode()
        super().__init__(f"Invalid run_id format: {shown(text)}. Expected format: YYYYMMDD_HHMMSS_XXXXXX")


class KnownRun(msgspec.Struct, frozen=True):
    """A run of the read model."""

    place: RunPlace
    is_listed: bool
    """False: it is in the recycle bin."""
    is_pinned: bool


async def check_run_ids(store: Store, values: Sequence[object]) -> list[str]:
    """The distinct ids, in the order of the request. InvalidRunId for the first of `values` that is none.

    Accepted are ids of the form that `init` generates, and those of existing runs, the recycle bin included.
    """
    unusual = [value for value in values if isinstance(value, str) and not is_run_id(value)]
    known = await runs_named(store, unusual) if unusual else {}
    for value in values:
        if not isinstance(value, str) or not (is_run_id(value) or known.get(value)):
            raise InvalidRunId(value)
    return list(dict.fromkeys(str(value) for value in values))


async def runs_named(store: Store, run_ids: Sequence[str]) -> dict[str, list[KnownRun]]:
    """All runs with each of these ids, in list order; also those that were made a moment ago. One query for all ids."""
    model = store.model("runs")
    found = await model.run(_runs_named, run_ids)
    if not all(found.values()):
        await store.discover()
        found = await model.run(_runs_named, run_ids)
    return found


def _runs_named(db: apsw.Connection, run_ids: Sequence[str]) -> dict[str, list[KnownRun]]:
    found: dict[str, list[KnownRun]] = {run_id: [] for run_id in run_ids}
    rows = db.execute(
        "SELECT run_id, key, listed, pinned FROM run WHERE run_id IN (SELECT value FROM json_each(?))"
        f" ORDER BY {LIST_ORDER}",
        (dump_json(list(found)).decode(),),
    )
    for run_id, key, listed, pinned in rows:
        found[str(run_id)].append(KnownRun(RunPlace(str(key), str(run_id)), bool(listed), bool(pinned)))
    return found
