"""`POST /api/runs/soft-delete`, `GET /api/recycle-bin`, `POST /api/recycle-bin/restore`, `POST /api/recycle-bin/empty`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.enums import MediaType
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import (
    BadInput,
    Store,
    check_run_ids,
    conditional,
    empty_recycle_bin,
    restore,
    soft_delete,
    strong_etag,
)
from runicorn_runs import queries

_MAX_RUNS = 100
_encode = msgspec.json.Encoder().encode


class RunIds(msgspec.Struct, frozen=True):
    """Runs to delete or to restore."""

    run_ids: Any = None
    """A list of 1 to 100 ids."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one run."""

    success: bool
    error: str | None = None


class SoftDeletion(msgspec.Struct, frozen=True):
    """The answer of `POST /api/runs/soft-delete`; one outcome for each distinct id, in the order of the request."""

    deleted_count: int
    results: dict[str, Outcome]
    message: str


class Restoration(msgspec.Struct, frozen=True):
    """The answer of `POST /api/recycle-bin/restore`; one outcome for each distinct id, in the order of the request."""

    restored_count: int
    results: dict[str, Outcome]
    message: str


class RecycleBin(msgspec.Struct, frozen=True):
    """The answer of `GET /api/recycle-bin`, in list order."""

    deleted_runs: list[queries.DeletedRun]


class Confirmation(msgspec.Struct, frozen=True):
    """Says that runs shall be removed for good."""

    confirm: Any = None
    """`true`, and nothing else that might be taken for it."""


class Emptied(msgspec.Struct, frozen=True):
    """The answer of `POST /api/recycle-bin/empty`."""

    permanently_deleted: int
    message: str
    failed: list[str]
    """Ids of runs that could not be removed; they are still in the recycle bin."""
    bytes_freed: int
    """Sizes of the files that are gone."""


@post("/api/runs/soft-delete", status_code=HTTP_200_OK, operation_id="soft_delete_runs")
async def soft_delete_runs(data: JSONBody[RunIds], store: Store) -> SoftDeletion:
    """Put runs into the recycle bin, also running ones. Nothing is changed if any id is malformed."""
    requested = _requested(data.run_ids, "delete")
    results = _outcomes(await soft_delete(store, await check_run_ids(store, requested)))
    count = sum(outcome.success for outcome in results.values())
    return SoftDeletion(count, results, f"Soft deleted {count} of {len(requested)} runs")


@get("/api/recycle-bin", operation_id="list_recycle_bin")
async def list_recycle_bin(request: Request[Any, Any, Any], store: Store) -> Response[RecycleBin]:
    """The runs in the recycle bin."""
    model = store.model("runs")
    build, changed = model.counter("runs")

    async def answer() -> Response[Any]:
        deleted = RecycleBin(await model.run(queries.deleted_runs, store.root))
        return Response(_encode(deleted), media_type=MediaType.JSON)

    return await conditional(request, strong_etag("bin", build, changed, model.counter("runs_removed")[1]), answer)


@post("/api/recycle-bin/restore", status_code=HTTP_200_OK, operation_id="restore_runs")
async def restore_runs(data: JSONBody[RunIds], store: Store) -> Restoration:
    """Take runs out of the recycle bin, as they were before. Nothing is changed if any id is malformed."""
    requested = _requested(data.run_ids, "restore")
    results = _outcomes(await restore(store, await check_run_ids(store, requested)))
    count = sum(outcome.success for outcome in results.values())
    return Restoration(count, results, f"Restored {count} of {len(requested)} runs")


@post("/api/recycle-bin/empty", status_code=HTTP_200_OK, operation_id="empty_recycle_bin")
async def empty_bin(data: JSONBody[Confirmation], store: Store) -> Emptied:
    """Remove everything in the recycle bin for good. Artifacts that the runs created stay."""
    if data.confirm is not True:
        raise BadInput("Must set confirm=true to permanently delete")
    gone, kept, bytes_freed = await empty_recycle_bin(store)
    return Emptied(len(gone), f"Permanently deleted {len(gone)} runs", kept, bytes_freed)


def _requested(run_ids: object, verb: str) -> list[object]:
    if not isinstance(run_ids, list) or not run_ids:
        raise BadInput("run_ids is required and must be a list")
    requested = cast(list[object], run_ids)
    if len(requested) > _MAX_RUNS:
        raise BadInput(f"Cannot {verb} more than {_MAX_RUNS} runs at once")
    return requested


def _outcomes(failures: Mapping[str, str | None]) -> dict[str, Outcome]:
    return {run_id: Outcome(error is None, error) for run_id, error in failures.items()}
