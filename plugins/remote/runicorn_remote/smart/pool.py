"""Contents on a server that no version refers to any more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runicorn_remote.channels import translated
from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import RemoteFile, enumerate_directories
from runicorn_remote.errors import RemoteError, RemotePathNotFound
from runicorn_remote.pipeline import Fetched, Pipeline, batches
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.places import ARTIFACTS

if TYPE_CHECKING:
    from paramiko.sftp_client import SFTPClient

_POOL = f"{ARTIFACTS}/.dedup"
_DIGEST = re.compile(rb"sha256:([0-9a-fA-F]{64})")


def digests_in(manifest: bytes) -> set[str]:
    """Every digest that the text of a manifest has, whatever else is wrong with it."""
    return {match[1].decode().lower() for match in _DIGEST.finditer(manifest)}


def remove_unused(
    connection: Connection, sftp: SFTPClient, root: str, cache: Cache, candidates: set[str]
) -> int | None:
    """Remove those contents from the pool that no manifest on the server names; the bytes of them. None if it has no pool.

    Nothing is removed unless every manifest there could be read. The lock of the pool cannot be taken by SFTP: a saver
    whose content goes while it links it puts its own copy in.
    """
    root = root.rstrip("/")
    try:
        with translated(_POOL):
            sftp.stat(f"{root}/{_POOL}")
    except RemotePathNotFound:
        return None
    if not candidates:
        return 0
    found = enumerate_directories(connection, root, [ARTIFACTS])
    used = _used(connection, root, cache, [file for file in found.files if _is_manifest(file.path)])
    if not found.is_complete or used is None:
        return 0
    return sum(_remove(sftp, f"{root}/{_POOL}", digest) for digest in sorted(candidates - used))


def _used(connection: Connection, root: str, cache: Cache, manifests: Sequence[RemoteFile]) -> set[str] | None:
    """The digests in manifests, out of the cache where it has them as they are; None if one cannot be read."""
    known = cache.files()
    used: set[str] = set()
    wanted: list[tuple[str, int]] = []
    for file in manifests:
        seen = known.get(file.path)
        if seen is not None and (seen.size, seen.mtime_ns, seen.is_young) == (file.size, file.mtime_ns, False):
            with contextlib.suppress(OSError):
                used |= digests_in((cache.metadata / file.path).read_bytes())
                continue
        wanted.append((f"{root}/{file.path}", file.size))
    if not wanted:
        return used
    pipeline = Pipeline(connection.open_sftp())
    try:
        for batch in batches(wanted):
            for answer in pipeline.fetch(batch):
                if not isinstance(answer, Fetched) or not answer.is_settled:
                    return None
                used |= digests_in(answer.data)
    finally:
        with contextlib.suppress(RemoteError, OSError):
            pipeline.close()
    return used


def _is_manifest(path: str) -> bool:
    """Whether it is the manifest of a version, also of one that its index does not list."""
    parts = path.split("/")
    return len(parts) == 5 and parts[4] == "manifest.json" and not any(part.startswith(".") for part in parts)


def _remove(sftp: SFTPClient, pool: str, digest: str) -> int:
    folder = f"{pool}/{digest[:2]}"
    try:
        with translated(digest):
            size = sftp.stat(f"{folder}/{digest}").st_size or 0
            sftp.remove(f"{folder}/{digest}")
    except RemotePathNotFound:
        return 0
    with contextlib.suppress(OSError):  # it has others
        sftp.rmdir(folder)
    return size
