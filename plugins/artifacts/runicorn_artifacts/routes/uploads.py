"""Versions from clients without the disk, content by content: what breaks off is continued.

POST   /api/artifacts/{name}/versions                          a form with all files
POST   /api/artifacts/{name}/uploads                           declare a version; what is to be sent
PUT    /api/artifacts/{name}/uploads/{id}/contents/{sha256}    a content, or the rest of it
POST   /api/artifacts/{name}/uploads/{id}/commit               make a version of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, delete, get, post, put
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import (
    Store,
    TooLarge,
    check_space,
)
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.pool import pool_of
from runicorn_artifacts.routes.committing import FULL, Saved, commit, run_of
from runicorn_artifacts.uploads.draft import Draft, checked, digest_in, type_of_new_version
from runicorn_artifacts.uploads.errors import disk_errors
from runicorn_artifacts.uploads.limits import UploadLimits
from runicorn_artifacts.uploads.receiving import announced_bytes, body_of, drain, write_body
from runicorn_artifacts.uploads.upload import MissingContent, Upload

_MAX_DECLARATION = 64 << 20  # 100 000 files with long paths


class UploadState(msgspec.Struct, frozen=True):
    """What an upload still needs. `version` is null until it is committed."""

    upload_id: str
    name: str
    type: str
    missing: list[MissingContent]
    version: int | None


class Received(msgspec.Struct, frozen=True):
    """How much of a content is here."""

    digest: str
    received: int
    is_complete: bool


class Abandoned(msgspec.Struct, frozen=True):
    """The upload is forgotten."""

    success: bool


@dataclass
class _BytesBody(Operation):
    """See `_FormBody`."""

    def __post_init__(self) -> None:
        content = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        self.request_body = RequestBody(
            content={"application/octet-stream": OpenAPIMediaType(schema=content)}, required=True
        )


@post(
    "/api/artifacts/{name:str}/uploads",
    status_code=HTTP_200_OK,
    operation_id="begin_artifact_upload",
    request_max_body_size=_MAX_DECLARATION,
    responses=FULL,
)
async def begin_artifact_upload(
    name: FromPath[str], data: JSONBody[Draft], store: Store, type: FromQuery[str | None] = None
) -> UploadState:
    """Declare a version. Of its contents only those need to be sent that no other version has: the answer lists them.

    Without a type it is the next version of the artifact that the name means; of a new one the type is `custom`. An upload
    that nobody continues for a day is forgotten.
    """
    kind = await asyncio.to_thread(type_of_new_version, Lookup(store.root), name, type)
    draft = await asyncio.to_thread(checked, data, UploadLimits.configured())
    await run_of(store, draft)

    def begin() -> Upload:
        upload = Upload.begin(store.root, kind, name, draft, pool_of(store.root))
        try:
            check_space(upload.folder, sum(item.size for item in upload.missing()))
        except BaseException:
            upload.abandon()
            raise
        return upload

    with disk_errors():
        upload = await asyncio.to_thread(begin)
        return await asyncio.to_thread(_state, upload)


@get("/api/artifacts/{name:str}/uploads/{upload_id:str}", operation_id="get_artifact_upload")
async def get_artifact_upload(name: FromPath[str], upload_id: FromPath[str], store: Store) -> UploadState:
    """What an upload still needs, and from which byte on."""
    return await asyncio.to_thread(lambda: _state(_open(store, name, upload_id)))


@put(
    "/api/artifacts/{name:str}/uploads/{upload_id:str}/contents/{digest:str}",
    status_code=HTTP_200_OK,
    operation_id="send_artifact_content",
    operation_class=_BytesBody,
    request_max_body_size=None,  # counted as it is received
    responses=FULL,
)
async def send_artifact_content(
    name: FromPath[str],
    upload_id: FromPath[str],
    digest: FromPath[str],
    request: Request[Any, Any, Any],
    store: Store,
    offset: FromQuery[int] = 0,
) -> Received:
    """Send a content, or the part of it behind `offset`, as the body. What has arrived stays if the connection breaks.

    409 with `received` where the server has another number of bytes; 400 if the whole has another digest, then it is
    thrown away. The last part may be sent again.
    """
    with disk_errors():
        async with body_of(request) as body:
            sha256 = digest_in(digest)
            upload = await asyncio.to_thread(_open, store, name, upload_id)
            if await asyncio.to_thread(upload.is_received, sha256):
                await drain(body)
                return Received(f"sha256:{sha256}", upload.size_of(sha256), True)
            content = await asyncio.to_thread(upload.incoming, sha256)

            def write(pieces: Sequence[bytes]) -> None:
                content.write(pieces)
                upload.touch()

            try:
                await asyncio.to_thread(content.open, offset)
                if announced_bytes(request) > upload.size_of(sha256) - offset:
                    raise TooLarge("The content is larger than declared")
                await write_body(body, write)
                is_complete = await asyncio.to_thread(upload.finish, sha256, content)
            finally:
                await asyncio.to_thread(content.close)
            return Received(f"sha256:{sha256}", content.received, is_complete)


@post(
    "/api/artifacts/{name:str}/uploads/{upload_id:str}/commit",
    status_code=HTTP_200_OK,
    operation_id="commit_artifact_upload",
    responses=FULL,
)
async def commit_artifact_upload(name: FromPath[str], upload_id: FromPath[str], store: Store) -> Saved:
    """Make a version of an upload; every reader sees it then. The body is ignored. Sent again, it answers the same.

    409 if contents are missing: ask for the state of the upload, and send them. 503 with `committing` while another
    request is at it: ask again.
    """
    upload = await asyncio.to_thread(_open, store, name, upload_id)
    plan = upload.plan
    run = await run_of(store, plan.draft)
    with disk_errors():
        return await commit(store, plan.type, name, plan.draft, run, lambda: upload.commit(pool_of(store.root)))


@delete(
    "/api/artifacts/{name:str}/uploads/{upload_id:str}",
    status_code=HTTP_200_OK,
    operation_id="abandon_artifact_upload",
)
async def abandon_artifact_upload(name: FromPath[str], upload_id: FromPath[str], store: Store) -> Abandoned:
    """Forget an upload. A version that it has become stays. 503 with `committing` while it becomes one."""
    with disk_errors():
        await asyncio.to_thread(lambda: _open(store, name, upload_id).abandon())
    return Abandoned(True)


def _open(store: Store, name: str, upload_id: str) -> Upload:
    return Upload.open(store.root, name, upload_id)


def _state(upload: Upload) -> UploadState:
    version = upload.version
    missing = upload.missing() if version is None else []
    return UploadState(upload.upload_id, upload.plan.name, upload.plan.type, missing, version)
