"""An upload: a version in the staging area that a client declares, sends content by content, and commits.

    artifacts/.tmp/<id>/upload.json      what was declared; contents that the pool has already
                        parts/<sha256>   contents that are not complete yet
                        contents/<sha256>
                        committed.json   which version it has become

Nothing of it shows before it is committed. All of it is on disk, so any worker can continue, also after a restart. What
nobody has continued for a day is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

import msgspec

from runicorn.plugin import BadInput, NotFound, file_lock, open_to_read, replace_file, shown
from runicorn_artifacts import promoting
from runicorn_artifacts.folder import FILES, ArtifactFolder
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.pool import ContentStore, link_or_copy
from runicorn_artifacts.saving import commit_version
from runicorn_artifacts.staging import STAGING, remove_old
from runicorn_artifacts.uploads.content import IncomingContent
from runicorn_artifacts.uploads.draft import Draft, entry_of
from runicorn_artifacts.uploads.errors import Committed, Incomplete, UploadNotFound

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PLAN = "upload.json"
_COMMITTED = "committed.json"
_LOCK = ".lock"
_LOCK_S = 60.0


class Plan(msgspec.Struct, frozen=True):
    """What is to become of the upload."""

    type: str
    name: str
    draft: Draft
    known: list[str]
    """Digests that the pool had when it was declared."""


class MissingContent(msgspec.Struct, frozen=True):
    """A content that is to be sent."""

    digest: str
    size: int
    received: int
    """So many bytes of it are here: continue behind them."""


class Made(msgspec.Struct, frozen=True):
    """The version that an upload has become."""

    version: int
    manifest_digest: str


class Upload:
    """One upload."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.upload_id = folder.name
        self.plan = plan
        self._sizes = {file.digest.removeprefix("sha256:"): file.size for file in plan.draft.files}
        self._programs = {file.digest.removeprefix("sha256:") for file in plan.draft.files if file.executable}

    @classmethod
    def begin(cls, base: Path, type: str, name: str, draft: Draft, pool: ContentStore) -> Upload:
        """A new upload below `base` (`artifacts`)."""
        area = base / STAGING
        area.mkdir(parents=True, exist_ok=True)
        remove_old(area)
        folder = area / os.urandom(16).hex()
        sizes = {file.digest.removeprefix("sha256:"): file.size for file in draft.files}
        known = [sha256 for sha256, size in sizes.items() if pool.has(sha256, size)]
        plan = Plan(type, name, draft, known)
        folder.mkdir()
        try:
            (folder / "parts").mkdir()
            (folder / "contents").mkdir()
            replace_file(folder / _PLAN, msgspec.json.encode(plan), fsync=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(folder, plan)

    @classmethod
    def open(cls, base: Path, name: str, upload_id: str) -> Upload:
        """An upload for an artifact of this name. UploadNotFound if there is none."""
        if not _ID.fullmatch(upload_id):
            raise UploadNotFound(upload_id)
        folder = base / STAGING / upload_id
        try:
            with open_to_read(folder / _PLAN) as file:
                plan = msgspec.json.decode(file.read(), type=Plan)
        except (OSError, msgspec.MsgspecError):
            raise UploadNotFound(upload_id) from None
        if plan.name != name:
            raise UploadNotFound(upload_id)
        return cls(folder, plan)

    @property
    def made(self) -> Made | None:
        """The version that it has become, perhaps: a killed server may have noted it just before."""
        try:
            with open_to_read(self.folder / _COMMITTED) as file:
                return msgspec.json.decode(file.read(), type=Made)
        except (OSError, msgspec.MsgspecError):
            return None

    def missing(self) -> list[MissingContent]:
        """The contents that are still to be sent, in the order of the files."""
        known = {*self.plan.known, *os.listdir(self.folder / "contents")} if self.is_open else set(self._sizes)
        return [
            MissingContent(f"sha256:{sha256}", size, self._received(sha256))
            for sha256, size in self._sizes.items()
            if sha256 not in known
        ]

    def is_received(self, sha256: str) -> bool:
        """Whether a content is complete, and need not be sent."""
        return sha256 in self.plan.known or (self.folder / "contents" / sha256).exists()

    def incoming(self, sha256: str) -> IncomingContent:
        """For a content that was declared: where to write it."""
        size = self._sizes.get(sha256)
        if size is None:
            raise NotFound(f"No file with this content was declared: {shown(sha256)}")
        if not self.is_open:
            raise Committed
        self.touch()
        return IncomingContent(self.folder / "parts" / sha256, sha256, size)

    def finish(self, sha256: str, content: IncomingContent) -> bool:
        """Whether a content is complete now."""
        return content.finish(self.folder / "contents" / sha256, executable=sha256 in self._programs)

    def size_of(self, sha256: str) -> int:
        """As it was declared."""
        return self._sizes.get(sha256, 0)

    def touch(self) -> None:
        """Keep it for another day."""
        with contextlib.suppress(OSError):
            os.utime(self.folder)

    def abandon(self) -> None:
        """Forget it. What it has become stays."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def commit(self, place: ArtifactFolder, pool: ContentStore) -> tuple[ArtifactMetadata, ArtifactManifest]:
        """Make a version of it; again, if it is one already: the same. Incomplete if contents are missing.

        Other errors are those of `commit_version`; then it can be committed later.
        """
        with file_lock(self.folder / _LOCK, timeout_s=_LOCK_S):
            before = self._made_at(place)
            if before is not None:
                self._alias_if_never(place, before[0].version)
                return before
            missing = [item.digest for item in self.missing()]
            if missing:
                raise Incomplete(missing)
            staged = self.folder / "version"
            shutil.rmtree(staged, ignore_errors=True)
            self._stage(staged, pool)
            draft = self.plan.draft
            stored = commit_version(
                place,
                staged,
                draft,
                [entry_of(file) for file in draft.files],
                draft.reference_entries(),
                run_id=draft.run_id or "",
                aliases=draft.aliases,
                numbered=self._note,
            )
            for name in ("contents", "parts"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return stored

    def _stage(self, staged: Path, pool: ContentStore) -> None:
        (staged / FILES).mkdir(parents=True)
        unusable: list[str] = []
        for number, file in enumerate(self.plan.draft.files):
            sha256 = file.digest.removeprefix("sha256:")
            target = staged.joinpath(FILES, *file.path.split("/"))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                received = self.folder / "contents" / sha256
                if received.exists():
                    copy = self.folder / f"copy-{number}"
                    copy.unlink(missing_ok=True)
                    link_or_copy(received, copy)
                    pool.place(copy, sha256, file.size, target)
                elif not pool.take(sha256, file.size, target):
                    unusable.append(sha256)
            except FileExistsError as error:  # paths that are one on this file system
                raise BadInput(f"Invalid artifact path: {shown(file.path)}") from error
        if unusable:
            known = [sha256 for sha256 in self.plan.known if sha256 not in unusable]
            self.plan = msgspec.structs.replace(self.plan, known=known)
            replace_file(self.folder / _PLAN, msgspec.json.encode(self.plan), fsync=True)
            raise Incomplete(unusable)

    def _note(self, number: int, manifest_digest: str) -> None:
        replace_file(self.folder / _COMMITTED, msgspec.json.encode(Made(number, manifest_digest)), fsync=True)

    def _made_at(self, place: ArtifactFolder) -> tuple[ArtifactMetadata, ArtifactManifest] | None:
        """What is stored of the version that it has become: noted, and moved to its place."""
        made = self.made
        content = None if made is None else place.metadata(made.version)
        manifest = None if made is None else place.manifest(made.version)
        if made is None or content is None or manifest is None or manifest.digest != made.manifest_digest:
            return None
        return ArtifactMetadata.from_dict(content), manifest.content

    def _alias_if_never(self, place: ArtifactFolder, version: int) -> None:
        """Set the aliases that a server which was killed could not set; where they were set, others may have moved them."""
        for alias in self.plan.draft.aliases:
            if not promoting.was_aliased(place, alias, version):
                promoting.set_alias(place, alias, version)

    @property
    def is_open(self) -> bool:
        """Whether contents can be sent: it has not become a version."""
        return (self.folder / "contents").is_dir()

    def _received(self, sha256: str) -> int:
        try:
            return os.stat(self.folder / "parts" / sha256).st_size
        except OSError:
            return 0
