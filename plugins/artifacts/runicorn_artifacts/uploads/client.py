"""Saving a version on a server, from a machine that does not share its disk.

Contents that the server has are not sent; one that breaks off is continued where the server is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from runicorn_artifacts.artifact import Artifact
from runicorn_artifacts.copying import Progress, digest_of, no_progress
from runicorn_artifacts.saving import Description
from runicorn_artifacts.staging import StagedFile, check_files
from runicorn_artifacts.uploads.connection import (
    BrokenConnection,
    Connection,
    Patience,
    Refused,
    ServerUnreachable,
)
from runicorn_artifacts.uploads.draft import DeclaredFile, DeclaredReference, Draft
from runicorn_artifacts.uploads.upload import MissingContent

_ROUNDS = 5
_FINAL = (400, 404, 409, 413, 507)
"""Answers after which an upload has not become a version, and will not."""


def upload_artifact(
    url: str,
    artifact: Artifact,
    *,
    run_id: str | None = None,
    aliases: Sequence[str] = (),
    progress: Progress = no_progress,
) -> int:
    """Save what is staged as a new version on the server at `url`, such as `http://gpu1:23300`; its number.

    `run_id` is the run on that server that made it. `progress` counts bytes that were sent. ValueError,
    FileNotFoundError and TypeError for content that cannot be saved; what the server says is a `RunicornError`;
    ConnectionError if it does not answer any more. A server that is busy is waited for, up to ten minutes. Where it gave no
    answer in the end, or 503, it may have saved a version nevertheless, or do so soon: calling this again makes another.
    """
    staged, references = artifact.staged
    if not staged and not references:
        raise ValueError("Artifact has no files or references to save")
    files = check_files(staged)
    described = Description.of(artifact)
    stored = [reference.stored() for reference in references]
    draft = Draft(
        files=[_declared(source, path) for source, path in files],
        references=[
            DeclaredReference(uri=r.uri, checksum=r.checksum, size=r.size, metadata=r.metadata) for r in stored
        ],
        description=described.description,
        metadata=described.metadata,
        tags=described.tags,
        aliases=list(aliases),
        run_id=run_id,
    )
    connection = Connection(url)
    try:
        sending = _Sending(connection, artifact.name, files, draft, progress)
        return sending.save(str(artifact.type))
    finally:
        connection.close()


def _declared(source: Path, path: str) -> DeclaredFile:
    found = source.stat()
    sha256, size = digest_of(source)
    is_program = bool(found.st_mode & 0o100)
    return DeclaredFile(
        path=path, size=size, digest=f"sha256:{sha256}", modified_at=found.st_mtime, executable=is_program
    )


class _State(msgspec.Struct, frozen=True):
    """What an upload needs; see the routes."""

    upload_id: str
    missing: list[MissingContent]


class _Sending:
    """One version on its way."""

    def __init__(
        self, connection: Connection, name: str, files: list[StagedFile], draft: Draft, progress: Progress
    ) -> None:
        self._connection = connection
        self._place = ["artifacts", name, "uploads"]
        self._draft = draft
        self._sources = {declared.digest: source for declared, (source, _) in zip(draft.files, files, strict=True)}
        self._progress = progress

    def save(self, type: str) -> int:
        """Declare, send, commit."""
        state = self._state(self._connection.ask("POST", self._place, self._draft, type=type))
        self._place = [*self._place, state.upload_id]
        try:
            for last in (*[False] * (_ROUNDS - 1), True):
                for content in state.missing:
                    self._send(content)
                try:
                    return int(self._connection.ask("POST", [*self._place, "commit"])["version"])
                except Refused as error:
                    state = self._look() if error.status == 409 else state
                    if last or error.status != 409 or not state.missing:
                        raise
        except Refused as error:
            # After any other answer it may have become a version, or be about to: nobody takes that away.
            if error.status in _FINAL:
                self._abandon()
            raise
        raise AssertionError

    def _send(self, content: MissingContent) -> None:
        """Until the server has all of it. ServerUnreachable or Refused after several attempts that brought nothing."""
        source, received, patience = self._sources[content.digest], content.received, Patience()
        with open(source, "rb") as file:
            while True:
                file.seek(received)
                try:
                    answer = self._connection.send(
                        [*self._place, "contents", content.digest], file, content.size - received, offset=received
                    )
                    self._progress(content.size - received)
                    if answer["is_complete"]:
                        return
                    there = int(answer["received"])
                except BrokenConnection as error:
                    if not patience.is_left_without_answer():
                        raise ServerUnreachable(self._connection.url) from error
                    missing = next((item for item in self._look().missing if item.digest == content.digest), None)
                    if missing is None:
                        return
                    patience = Patience() if missing.received > received else patience
                    received = missing.received
                    continue
                except Refused as error:
                    if "received" not in error.answer:
                        if not _may_be_sent_again(error, patience):
                            raise
                        continue
                    there = int(error.answer["received"])
                if there > received:
                    patience = Patience()
                elif not patience.is_left_without_answer():
                    raise OSError(f"{source} changes while it is sent, or cannot be sent")
                received = there

    def _look(self) -> _State:
        return self._state(self._connection.ask("GET", self._place))

    def _abandon(self) -> None:
        with contextlib.suppress(Refused, BrokenConnection):  # the server forgets it by itself, too
            self._connection.ask_once("DELETE", self._place)

    @staticmethod
    def _state(answer: dict[str, Any]) -> _State:
        return msgspec.convert(answer, _State)


def _may_be_sent_again(error: Refused, patience: Patience) -> bool:
    """After a while. A request of ours that broke may not be over where the server is: that is a conflict, too."""
    return patience.is_left_without_answer() if error.status == 409 else patience.is_left_after(error)
