"""`/api/remote/download…`: versions of artifacts, brought from the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, FromQuery

from runicorn.plugin import BadInput, Serving, Store, parse_json
from runicorn_remote.remote import Remote
from runicorn_remote.routes.remote import adapter_of, connected_adapter
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.downloads import DownloadReport
from runicorn_remote.smart.targets import target_below
from runicorn_remote.smart.versions import Version, VersionFile, files_of, find_version, types_of


class DownloadStarted(msgspec.Struct, frozen=True):
    """The answer of `POST /api/remote/download/{artifact_name}/v{version}`."""

    ok: bool
    task_id: str
    artifact: str
    message: str


class DownloadStatus(msgspec.Struct, frozen=True):
    """The answer of `GET /api/remote/download/{task_id}/status`."""

    task_id: str
    artifact_name: str
    artifact_type: str
    artifact_version: int
    target_dir: str
    total_files: int
    downloaded_files: int
    total_bytes: int
    downloaded_bytes: int
    progress_percent: float
    status: str
    error: str | None


class DownloadList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/remote/downloads`."""

    downloads: list[DownloadReport]
    active_count: int
    total_count: int


class DownloadCancelled(msgspec.Struct, frozen=True):
    """The answer of `DELETE /api/remote/download/{task_id}`."""

    ok: bool
    message: str


@post("/api/remote/download/{artifact_name:str}/{version:str}", status_code=200, operation_id="remote_download")
async def start_download(
    artifact_name: FromPath[str],
    version: FromPath[str],
    request: Request[Any, Any, Any],
    serving: Serving,
    store: Store,
    type: FromQuery[str | None] = None,
) -> DownloadStarted:
    """Bring the files of a version (`v3`). The optional body has `target_dir`, relative to the storage root."""
    wanted = _target_dir(await request.body())
    remote = serving.own(Remote)
    cache = adapter_of(remote).cache
    adapter = connected_adapter(remote)
    found, files, target = await remote.run(_prepare, cache, store.root, artifact_name, version, type, wanted)
    smart = remote.smart
    task = smart.downloads.start(adapter.connection, adapter.source.root, found, files, target, smart.clean_up_quietly)
    message = "Download started. Use /api/remote/download/{task_id}/status to track progress."
    return DownloadStarted(True, task.task_id, str(found), message)


@get("/api/remote/download/{task_id:str}/status", operation_id="remote_download_status", sync_to_thread=False)
def download_status(task_id: FromPath[str], serving: Serving) -> DownloadStatus:
    """How far a download is; also after a disconnect."""
    report = serving.own(Remote).smart.downloads.find(task_id).report()
    share = 1.0 if report.status == "completed" else report.downloaded_bytes / max(1, report.total_bytes)
    return DownloadStatus(
        task_id=report.task_id,
        artifact_name=report.artifact_name,
        artifact_type=report.artifact_type,
        artifact_version=report.artifact_version,
        target_dir=report.target_dir,
        total_files=report.total_files,
        downloaded_files=report.downloaded_files,
        total_bytes=report.total_bytes,
        downloaded_bytes=report.downloaded_bytes,
        progress_percent=round(100.0 * share, 1),
        status=report.status,
        error=report.error,
    )


@get("/api/remote/downloads", operation_id="remote_downloads", sync_to_thread=False)
def list_downloads(serving: Serving) -> DownloadList:
    """The downloads that run, and those that ended last."""
    downloads = serving.own(Remote).smart.downloads
    reports = [task.report() for task in downloads.tasks()]
    return DownloadList(reports, downloads.active, len(reports))


@delete("/api/remote/download/{task_id:str}", status_code=200, operation_id="cancel_remote_download")
async def cancel_download(task_id: FromPath[str], serving: Serving) -> DownloadCancelled:
    """End a download; files that are complete stay, and a later download goes on with them."""
    remote = serving.own(Remote)
    await remote.run(remote.smart.downloads.cancel, task_id)
    return DownloadCancelled(True, f"Download task {task_id} cancelled")


def _prepare(
    cache: Cache, root: Path, name: str, version: str, type: str | None, wanted: str | None
) -> tuple[Version, list[VersionFile], Path]:
    found = find_version(cache, name, version, type)
    files = files_of(cache, found)
    if wanted is not None:
        return found, files, target_below(root, wanted)
    is_first = types_of(cache, name)[0] == found.type
    folder = name if is_first else f"{name}.{found.type}"
    return found, files, cache.directory / "downloads" / folder / f"v{found.number}"


def _target_dir(body: bytes) -> str | None:
    """`target_dir` of a body that may be empty. BadInput if it is something else than an object with a text."""
    try:
        content = parse_json(body) if body.strip() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BadInput("Request body must be a JSON object")
    wanted = cast(dict[str, object], content).get("target_dir")
    if wanted is not None and not isinstance(wanted, str):
        raise BadInput("Invalid value for target_dir: must be a string")
    return wanted or None
