"""`/api/experiments/…`: what people say about runs, searching by it, and removing runs for good."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK
from msgspec import UNSET

from runicorn.plugin import (
    BadInput,
    RunNotFound,
    Store,
    WrongFields,
    annotate_run,
    appended_tags,
    checked_tags,
    purge,
)
from runicorn_runs.annotations import Annotated, Wanted, annotated_run, annotated_runs

_MAX_RUNS = 100
_MAX_DESCRIPTION = 10_000


class Tagging(msgspec.Struct, frozen=True):
    """Tags for a run."""

    run_id: Any = None
    tags: Any = ()
    append: Any = True
    """False: the run has these tags and no others."""


class Success(msgspec.Struct, frozen=True):
    """Whether something was done; False if there is no such run."""

    success: bool


class Annotating(msgspec.Struct, frozen=True):
    """What shall be said about a run; what is left out stays."""

    tags: Any = UNSET
    """A list of texts: all of them."""
    description: Any = UNSET
    """A text, or null."""
    archived: Any = UNSET
    """True or false."""
    pinned: Any = UNSET
    """True or false."""


class Experiments(msgspec.Struct, frozen=True):
    """The answer of `GET /api/experiments/search`, last updated first."""

    experiments: list[Annotated]


class Removal(msgspec.Struct, frozen=True):
    """Runs to remove for good."""

    run_ids: Any = None
    """A list of 1 to 100 ids."""
    force: Any = False
    """`true`: pinned ones, too."""


class Removed(msgspec.Struct, frozen=True):
    """Whether each run is gone: false for unknown and pinned ones, and where something went wrong."""

    results: dict[str, bool]
    bytes_freed: int
    """Sizes of the files that are gone."""


@post("/api/experiments/tag", status_code=HTTP_200_OK, operation_id="tag_experiment")
async def tag_experiment(data: JSONBody[Tagging], store: Store) -> Success:
    """Add tags behind those that a run has, or replace them."""
    wrong = WrongFields()
    run_id = wrong.of("run_id", _run_id, data.run_id)
    appends = wrong.of("append", _boolean, data.append, "append")
    tags = wrong.of("tags", _tags, data.tags)
    wrong.refuse()
    try:
        await annotate_run(store, run_id, lambda run: {"tags": appended_tags(run.tags, tags) if appends else tags})
    except RunNotFound:
        return Success(False)
    return Success(True)


@patch("/api/experiments/{run_id:str}", operation_id="annotate_experiment")
async def annotate_experiment(run_id: FromPath[str], data: JSONBody[Annotating], store: Store) -> Annotated:
    """Set tags, description, archived, pinned of a run: those that are given. The run as searches show it then."""
    fields = _checked(data)
    await annotate_run(store, run_id, lambda _: fields)
    return store.model("runs").query(annotated_run, run_id)


@get("/api/experiments/search", operation_id="search_experiments")
async def search_experiments(
    store: Store,
    project: FromQuery[str | None] = None,
    tags: FromQuery[str | None] = None,
    text: FromQuery[str | None] = None,
    archived: FromQuery[bool] = False,
) -> Experiments:
    """Runs of a project with all of the tags (a comma list), and with `text` in name, project, description or tags.

    Case does not matter in `text`. `archived`: archived runs, too.
    """
    required = [tag.strip() for tag in (tags or "").split(",") if tag.strip()]
    wanted = Wanted(project, required, (text or "").casefold(), archived)
    return Experiments(await store.model("runs").run(annotated_runs, wanted))


@delete("/api/experiments/delete", status_code=HTTP_200_OK, operation_id="delete_experiments")
async def delete_experiments(data: JSONBody[Removal], store: Store) -> Removed:
    """Remove runs for good, in the recycle bin or not. Artifacts that they created stay."""
    if not data.run_ids and not isinstance(data.run_ids, (int, dict)):
        raise BadInput("run_ids are required")
    run_ids = _texts(data.run_ids, "run_ids")
    if len(run_ids) > _MAX_RUNS:
        raise BadInput(f"Cannot delete more than {_MAX_RUNS} runs at once")
    failures, bytes_freed = await purge(store, run_ids, force=data.force is True)
    return Removed({run_id: failure is None for run_id, failure in failures.items()}, bytes_freed)


def _checked(data: Annotating) -> dict[str, Any]:
    """The fields that are given; by hand, because the framework takes 1 for true."""
    fields = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    if not fields:
        raise BadInput("Nothing to change: give tags, description, archived or pinned")
    wrong = WrongFields()
    if "tags" in fields:
        fields["tags"] = wrong.of("tags", _tags, fields["tags"])
    wrong.of("description", _description, fields.get("description"))
    for name in ("archived", "pinned"):
        wrong.of(name, _boolean, fields.get(name, False), name)
    wrong.refuse()
    return fields


def _run_id(value: object) -> str:
    if value is None or value == "":
        raise BadInput("run_id is required")
    if not isinstance(value, str):
        raise BadInput("Invalid value for run_id: must be a string")
    return value


def _description(value: object) -> None:
    if value is not None and not (isinstance(value, str) and len(value) <= _MAX_DESCRIPTION):
        raise BadInput(
            f"Invalid value for description: must be null or a text of at most {_MAX_DESCRIPTION} characters"
        )


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"Invalid value for {name}: must be true or false")
    return value


def _tags(value: object) -> list[str]:
    return checked_tags(_texts(list(value) if isinstance(value, tuple) else value, "tags"))


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast(list[object], value)):
        raise BadInput(f"Invalid value for {name}: must be a list of strings")
    return cast(list[str], value)
