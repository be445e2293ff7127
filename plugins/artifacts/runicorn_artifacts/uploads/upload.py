"""An upload: a version in the staging area that a client declares, sends content by content, and commits.

    artifacts/.tmp/<id>/.lock            held while it becomes a version, or is forgotten
                        upload.json      what was declared; contents that the pool has already
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
from collections.abc import Generator
from pathlib import Path

import msgspec

from runicorn.plugin import BadInput, LockTimeout, NotFound, file_lock, open_to_read, replace_file, shown
from runicorn_artifacts import promoting
from runicorn_artifacts.folder import FILES, LOCK_FILE, ArtifactFolder
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.pool import ContentStore, link_or_copy
from runicorn_artifacts.saving import Made, Stored, commit_version
from runicorn_artifacts.staging import STAGING, remove_old
from runicorn_artifacts.uploads.content import IncomingContent
from runicorn_artifacts.uploads.draft import Draft, entry_of
from runicorn_artifacts.uploads.errors import BeingCommitted, Committed, Incomplete, UploadNotFound

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PLAN = "upload.json"
_COMMITTED = "committed.json"
_PARTS = "parts"
_CONTENTS = "contents"
_LOCK_S = 2.0
"""Longer waits belong to the client: each one takes a thread of the server."""


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


class Upload:
    """One upload."""

    def __init__(self, root: Path, upload_id: str, plan: Plan) -> None:
        self._root = root
        self.folder = _area(root) / upload_id
        self.upload_id = upload_id
        self.plan = plan
        self._sizes = {file.digest.removeprefix("sha256:"): file.size for file in plan.draft.files}
        self._programs = {file.digest.removeprefix("sha256:") for file in plan.draft.files if file.executable}

    @classmethod
    def begin(cls, root: Path, type: str, name: str, draft: Draft, pool: ContentStore) -> Upload:
        """A new upload to a storage root."""
        area = _area(root)
        area.mkdir(parents=True, exist_ok=True)
        remove_old(area)
        sizes = {file.digest.removeprefix("sha256:"): file.size for file in draft.files}
        known = [sha256 for sha256, size in sizes.items() if pool.has(sha256, size)]
        upload = cls(root, os.urandom(16).hex(), Plan(type, name, draft, known))
        upload.folder.mkdir()
        try:
            (upload.folder / LOCK_FILE).touch()  # now: it must be possible to forget an upload when the disk is full
            replace_file(upload.folder / _PLAN, msgspec.json.encode(upload.plan), fsync=True)
        except BaseException:
            shutil.rmtree(upload.folder, ignore_errors=True)
            raise
        return upload

    @classmethod
    def open(cls, root: Path, name: str, upload_id: str) -> Upload:
        """An upload for an artifact of this name. UploadNotFound if there is none."""
        if not _ID.fullmatch(upload_id):
            raise UploadNotFound(upload_id)
        try:
            with open_to_read(_area(root) / upload_id / _PLAN) as file:
                plan = msgspec.json.decode(file.read(), type=Plan)
        except (OSError, msgspec.MsgspecError):
            raise UploadNotFound(upload_id) from None
        if plan.name != name:
            raise UploadNotFound(upload_id)
        return cls(root, upload_id, plan)

    @property
    def version(self) -> int | None:
        """The version that it has become; None before that, and if that version was removed for good."""
        stored = self._stored()
        return None if stored is None else stored[0].version

    def missing(self) -> list[MissingContent]:
        """The contents that are still to be sent before it can be committed, in the order of the files."""
        known = {*self.plan.known, *_names(self.folder / _CONTENTS)}
        return [
            MissingContent(f"sha256:{sha256}", size, self._received(sha256))
            for sha256, size in self._sizes.items()
            if sha256 not in known
        ]

    def is_received(self, sha256: str) -> bool:
        """Whether a content is complete, and need not be sent."""
        return sha256 in self.plan.known or (self.folder / _CONTENTS / sha256).exists()

    def incoming(self, sha256: str) -> IncomingContent:
        """For a content that was declared: where to write it. Committed if it is too late."""
        size = self._sizes.get(sha256)
        if size is None:
            raise NotFound(f"No file with this content was declared: {shown(sha256)}")
        if self._stored() is not None:
            raise Committed
        self.touch()
        for name in (_PARTS, _CONTENTS):
            (self.folder / name).mkdir(exist_ok=True)
        return IncomingContent(self.folder / _PARTS / sha256, sha256, size)

    def finish(self, sha256: str, content: IncomingContent) -> bool:
        """Whether a content is complete now."""
        return content.finish(self.folder / _CONTENTS / sha256, executable=sha256 in self._programs)

    def size_of(self, sha256: str) -> int:
        """As it was declared."""
        return self._sizes.get(sha256, 0)

    def touch(self) -> None:
        """Keep it for another day."""
        with contextlib.suppress(OSError):
            os.utime(self.folder)

    def abandon(self) -> None:
        """Forget it. What it has become stays. BeingCommitted while it becomes something."""
        with self._locked(timeout_s=0.0):
            shutil.rmtree(self.folder, ignore_errors=True)

    def commit(self, pool: ContentStore) -> Stored:
        """Make a version of it; again, if it is one already: the same. Incomplete if contents are missing.

        BeingCommitted if another request does that for longer than a moment. Other errors are those of `commit_version`;
        then it can be committed later.
        """
        with self._locked(timeout_s=_LOCK_S):
            before = self._stored()
            if before is not None:
                self._alias_if_never(before[0].version)
                return before
            missing = [item.digest for item in self.missing()]
            if missing:
                raise Incomplete(missing)
            path = self.folder / "version"
            shutil.rmtree(path, ignore_errors=True)
            self._stage(path, pool)
            files = [entry_of(file) for file in self.plan.draft.files]
            stored = commit_version(self._place(), self.plan.draft.staged(path, files, self.folder / _COMMITTED))
            for name in (_CONTENTS, _PARTS):  # a version has them now
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return stored

    def _stage(self, path: Path, pool: ContentStore) -> None:
        (path / FILES).mkdir(parents=True)
        unusable: list[str] = []
        for number, file in enumerate(self.plan.draft.files):
            sha256 = file.digest.removeprefix("sha256:")
            target = path.joinpath(FILES, *file.path.split("/"))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                received = self.folder / _CONTENTS / sha256
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

    def _stored(self) -> Stored | None:
        """What is stored of the version that it has become: noted, and moved to its place with this very manifest."""
        try:
            with open_to_read(self.folder / _COMMITTED) as file:
                made = msgspec.json.decode(file.read(), type=Made)
        except (OSError, msgspec.MsgspecError):
            return None
        place = self._place()
        content, manifest = place.metadata(made.version), place.manifest(made.version)
        if content is None or manifest is None or manifest.digest != made.manifest_digest:
            return None
        return ArtifactMetadata.from_dict(content), manifest.content

    def _alias_if_never(self, version: int) -> None:
        """Set the aliases that a server which was killed could not set; where they were set, others may have moved them."""
        for alias in self.plan.draft.aliases:
            if not promoting.was_aliased(self._place(), alias, version):
                promoting.set_alias(self._place(), alias, version)

    @contextlib.contextmanager
    def _locked(self, *, timeout_s: float) -> Generator[None]:
        """Nobody else commits or abandons it. BeingCommitted; UploadNotFound if it was abandoned meanwhile."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.folder / LOCK_FILE, timeout_s=timeout_s))
            except LockTimeout as error:
                raise BeingCommitted from error
            except FileNotFoundError as error:
                raise UploadNotFound(self.upload_id) from error
            if not (self.folder / _PLAN).exists():
                raise UploadNotFound(self.upload_id)
            yield

    def _place(self) -> ArtifactFolder:
        """The artifact that gets it, as it is now."""
        return Lookup(self._root).at(self.plan.type, self.plan.name)

    def _received(self, sha256: str) -> int:
        try:
            return os.stat(self.folder / _PARTS / sha256).st_size
        except OSError:
            return 0


def _area(root: Path) -> Path:
    return root / ARTIFACTS / STAGING


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:  # nothing was sent yet
        return []
