"""`POST /api/artifacts/{name}/versions`: a version in one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Request, post
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath, FromQuery
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import (
    BadInput,
    Store,
    shown,
)
from runicorn_artifacts.folder import FILES
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.pool import pool_of
from runicorn_artifacts.routes.committing import FULL, Saved, commit, run_of
from runicorn_artifacts.saving import Stored, commit_version
from runicorn_artifacts.staging import staging_folder
from runicorn_artifacts.uploads.draft import Draft, type_of_new_version
from runicorn_artifacts.uploads.errors import disk_errors
from runicorn_artifacts.uploads.form import ReceivedFile, receive_form
from runicorn_artifacts.uploads.limits import UploadLimits
from runicorn_artifacts.uploads.receiving import body_of


@dataclass
class _FormBody(Operation):
    """The framework cannot know what a handler reads from the stream itself."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="Its file name is its path.")
        text = Schema(type=OpenAPIType.STRING)
        names = ("description", "metadata", "references", "digests", "tag", "alias", "run_id")
        form = Schema(
            type=OpenAPIType.OBJECT, properties={"file": file, **dict.fromkeys(names, text)}, required=["file"]
        )
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@post(
    "/api/artifacts/{name:str}/versions",
    status_code=HTTP_200_OK,
    operation_id="save_artifact_version",
    operation_class=_FormBody,
    request_max_body_size=None,  # counted as it is received
    responses=FULL,
)
async def save_artifact_version(
    name: FromPath[str], request: Request[Any, Any, Any], store: Store, type: FromQuery[str | None] = None
) -> Saved:
    """Save the files of a form as a new version. Each part with a file name is a file. Without a type it is
    the next version of the artifact that the name means; of a new one the type is `custom`.

    Nothing is visible before the answer; a request that breaks off leaves nothing.
    """
    async with body_of(request) as body:
        kind = await asyncio.to_thread(type_of_new_version, Lookup(store.root), name, type)
        async with _staging(store) as folder:
            draft, files = await receive_form(request, body, folder, UploadLimits.configured())
            run = await run_of(store, draft)
            return await commit(store, kind, name, draft, run, lambda: _save(store, kind, name, folder, draft, files))


@asynccontextmanager
async def _staging(store: Store) -> AsyncGenerator[Path]:
    with disk_errors():
        context = staging_folder(store.root / ARTIFACTS)
        folder = await asyncio.to_thread(context.__enter__)
        try:
            yield folder
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)


def _save(store: Store, type: str, name: str, folder: Path, draft: Draft, files: list[ReceivedFile]) -> Stored:
    pool = pool_of(store.root)
    staged = folder / "version"
    (staged / FILES).mkdir(parents=True)
    for file in files:
        target = staged.joinpath(FILES, *file.path.split("/"))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            pool.place(file.copy, file.sha256, file.size, target)
        except FileExistsError as error:  # paths that are one on this file system
            raise BadInput(f"Invalid artifact path: {shown(file.path)}") from error
    return commit_version(Lookup(store.root).at(type, name), draft.staged(staged, [file.entry for file in files]))
