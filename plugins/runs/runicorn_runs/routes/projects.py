"""`GET /api/projects`, the names in a project, and the runs of a name. All matches are exact and case-sensitive."""

from __future__ import annotations

import msgspec
from litestar import get
from litestar.params import FromPath

from runicorn.plugin import Store
from runicorn_runs import queries
from runicorn_runs.liveness import Liveness


class Projects(msgspec.Struct, frozen=True):
    """The answer of `GET /api/projects`, by code point."""

    projects: list[str]


class Names(msgspec.Struct, frozen=True):
    """The answer of `GET /api/projects/{project}/names`, by code point; empty for an unknown project."""

    names: list[str]


@get("/api/projects", sync_to_thread=False, operation_id="list_projects")
def list_projects(store: Store) -> Projects:
    """The projects of all runs that are not in the recycle bin."""
    return Projects(store.model("runs").query(queries.projects))


@get("/api/projects/{project:str}/names", operation_id="list_names")
async def list_names(project: FromPath[str], store: Store) -> Names:
    """The names in a project."""
    return Names(await store.model("runs").run(queries.names_in, project))


@get("/api/projects/{project:str}/names/{name:str}/runs", operation_id="list_runs_of_name")
async def list_runs_of_name(project: FromPath[str], name: FromPath[str], store: Store) -> list[queries.RunListItem]:
    """The runs of a name in a project, as `GET /api/runs` lists them; empty for an unknown one."""
    store.own(Liveness).check_soon()
    return await store.model("runs").run(queries.runs_of_name, store.root, project, name)
