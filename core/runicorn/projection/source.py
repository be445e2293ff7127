"""Sources: readers that turn files which are not event streams into events.

The projector looks at every run directory from time to time, and at running ones at once. When one of a source's files
changed, appeared or went, the source is asked what is true now, and compares that with its plugin's read model. What the
read model does not say yet is appended to the store stream, so that replay and time travel see it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import apsw

from runicorn.events.discovery import RunDirectory
from runicorn.events.envelope import Payload


@runtime_checkable
class KnowsRuns(Protocol):
    """A source that can tell which runs its read model holds; without it, what went unnoticed stays until it is back."""

    def known_runs(self, model: apsw.Connection) -> Iterable[str]:
        """Keys of the runs in the read model. Asked once after a start: some may be gone, and nobody was there to see it."""
        ...


@runtime_checkable
class ObservesRoot(Protocol):
    """A source that also observes files directly in the storage root."""

    root_files: frozenset[str]
    """Names of the files in the root that it reads. It is asked again only after one of them changed."""

    def observe_root(self, root: Path, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        """What these files say and the read model does not. The rules are those of `Source.observe`."""
        ...


class Source(Protocol):
    """Observes some files of run directories."""

    name: str
    """Unique over all plugins."""
    files: frozenset[str]
    """Names of the files in a run directory that it reads. It is asked again only after one of them changed."""

    def observe(self, root: Path, run: RunDirectory, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        """What the run directory says and the read model does not, with the times at which it became true.

        Called in the projector process, after the run's own stream was applied; once for a new directory, after each
        change, and once after the directory is gone. `model` is the read model of the source's own plugin; do not write
        to it. Return nothing for what the read model already says, or for a file older than what the read model says:
        otherwise the same events would be appended again and again.
        """
        ...


@runtime_checkable
class ArtifactSource(Protocol):
    """Observes the folders of artifacts."""

    name: str
    """Unique over all plugins."""

    def signature(self, root: Path, key: str) -> int | None:
        """A number that changes with whatever this source reads of an artifact; None if its folder is gone.

        Called often, for every artifact: a few `stat`s, no content.
        """
        ...

    def observe_artifact(self, root: Path, key: str, model: apsw.Connection) -> Sequence[tuple[float, Payload]]:
        """What an artifact's folder says and the read model does not, with the times at which it became true.

        Called in the projector process, after the artifact's own stream was applied, while nobody changes the artifact;
        for a new folder, after each change, and after the folder is gone. Everything else is as for `Source.observe`.
        """
        ...

    def known_artifacts(self, model: apsw.Connection) -> Iterable[str]:
        """Keys of the artifacts in the read model, asked once after a start: some may have gone unnoticed."""
        ...
