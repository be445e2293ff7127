"""The projector's work on artifacts: which folders there are, and what their files say that the read models do not.

An artifact is observed while its lock is held, with its own stream applied: then whatever the files say otherwise was
written by 0.4.0 (or was left by a killed process), and is true.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from runicorn.events.artifact import look_at_artifact
from runicorn.events.discovery import find_artifacts, is_artifact_key, subdirectories
from runicorn.events.log import Stream
from runicorn.projection.asked_sources import AskedSources
from runicorn.projection.backlog import Backlog
from runicorn.projection.model import ReadModel
from runicorn.projection.recording import ObservedEvents
from runicorn.projection.signatures import Signatures
from runicorn.projection.source import ArtifactSource

logger = logging.getLogger("runicorn.projection")

_BASE = "artifacts"
_MAX_WATCHED = 1500
_LOOK_SHARE = 0.1
_TRY_AGAIN_S = 0.02
_SETTLED_S = 1.0  # a directory can change twice within one tick of the file system's clock

Apply = Callable[[Stream], None]
"""Brings the read models level with one stream."""


class ArtifactObserver:
    """Knows the artifacts of a root, and turns changes of their files into events of the store stream."""

    def __init__(
        self, root: Path, state_dir: Path, recorded: ObservedEvents, sources: Sequence[tuple[ReadModel, ArtifactSource]]
    ) -> None:
        self.waiting: Backlog[str] = Backlog()
        """Keys of artifacts that are to be looked at."""
        self._root = root
        self._recorded = recorded
        self._sources: AskedSources[ArtifactSource] = AskedSources(sources)
        self._signatures = Signatures(state_dir / "observed.db", "artifact_signature")
        self._keys: set[str] = set()
        self._is_first_look = True
        self._busy_until = 0.0
        self._next_look = 0.0
        self._stamps: list[tuple[str, float]] = []
        self._directories: list[str] | None = None

    @property
    def failed(self) -> dict[str, str]:
        """Plugins whose source failed, with the reason."""
        return self._sources.failed

    def discover(self) -> list[str]:
        """Find artifacts that appeared or vanished since the last call; their keys. They wait to be looked at, then.

        Costs a `stat` per type, and a listing of all artifacts where something changed.
        """
        if not self._sources or self._is_settled():
            return []
        found = set(find_artifacts(self._root))
        changed = sorted(found ^ self._keys)
        self._keys = found
        self._directories = None
        for key in changed:
            self.waiting.add(key)
        return changed

    def _is_settled(self) -> bool:
        """Whether the folders in which artifacts appear are as they were, judged by their modification times."""
        base = f"{self._root}/{_BASE}"
        folders = [base, *(f"{base}/{name}" for name in subdirectories(base) if not name.startswith("."))]
        stamps = [(folder, _modified(folder)) for folder in folders]
        is_same, self._stamps = stamps == self._stamps, stamps
        return is_same and time.time() - max(stamp for _, stamp in stamps) > _SETTLED_S

    def noticed(self, key: str) -> str | None:
        """The artifact that a changed path below the root belongs to, which waits to be looked at, then."""
        artifact = "/".join(key.split("/")[:3])
        if not self._sources or not is_artifact_key(artifact):
            return None
        self.waiting.add(artifact)
        self._directories = None
        return artifact

    def look_at_watched(self) -> None:
        """Find changes where no notices come, for at most a tenth of the time."""
        started = time.monotonic()
        if started >= self._next_look:
            for _ in self.look_at_all():
                pass
            now = time.monotonic()
            self._next_look = now + (now - started) / _LOOK_SHARE

    def look_at_all(self) -> Iterator[None]:
        """Look once at every artifact, known or new, for changes; yields often."""
        if self._is_first_look:
            self._is_first_look = False
            known = self._sources.ask(
                "the artifacts that it knows",
                lambda source, model: [key for key in source.known_artifacts(model.connection) if is_artifact_key(key)],
            )
            for key in known:
                if key not in self._keys:
                    self.waiting.add(key)
        for key in list(self._keys):
            if self._signature(key) != self._signatures.get(key):
                self.waiting.add(key)
            yield

    def directories(self) -> list[str]:
        """Absolute paths to watch: the folders of types, artifacts and versions; the newest versions where there are many."""
        if self._directories is None:
            self._directories = self._find_directories()
        return self._directories

    def _find_directories(self) -> list[str]:
        base = self._root / _BASE
        types = [f"{base}/{name}" for name in subdirectories(base) if not name.startswith(".")]
        artifacts = [f"{self._root}/{key}" for key in sorted(self._keys)][:_MAX_WATCHED]
        versions: list[tuple[float, str]] = []
        for artifact in artifacts:
            with_time = ((_modified(f"{artifact}/{name}"), f"{artifact}/{name}") for name in subdirectories(artifact))
            versions += with_time
        newest = sorted(versions, reverse=True)[: max(0, _MAX_WATCHED - len(artifacts))]
        return [os.fspath(base), *types, *artifacts, *(path for _, path in newest)]

    def work(self, count: int, apply: Apply) -> None:
        """Look at the next artifacts that wait, unless the first of them was busy a moment ago."""
        if time.monotonic() < self._busy_until:
            return
        for key in self.waiting.first(count):
            self.look(key, apply)

    @property
    def pause_s(self) -> float:
        """The seconds until there is something to do, if artifacts wait."""
        return max(0.0, self._busy_until - time.monotonic())

    def look(self, key: str, apply: Apply) -> bool:
        """Look at one artifact now; False if somebody changes it in this moment: then it waits to be looked at again."""
        signature = self._signature(key)
        if signature is not None and signature == self._signatures.get(key):
            self.waiting.done([key])
            return True
        with look_at_artifact(self._root / key) as is_quiet:
            if not is_quiet:
                self.waiting.done([key])  # it is not to hold up the first round
                self.waiting.add(key)
                self._busy_until = time.monotonic() + _TRY_AGAIN_S
                return False
            self.waiting.done([key])
            apply(Stream("artifact", key))
            signature = self._signature(key)
            events = self._sources.observe(
                f"the artifact {key}",
                lambda source, model: source.observe_artifact(self._root, key, model.connection),
            )
            if events:
                stream = self._recorded.append(events)
                if stream is None:
                    return True
                apply(stream)
        self._signatures.remember({key: signature})
        return True

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Look at these artifacts (None: at all) again, whether or not their files change: what streams said is lost."""
        forgotten = {*self._keys, *self._signatures.known()} if keys is None else set(keys)
        self._signatures.remember(dict.fromkeys(forgotten))
        for key in forgotten:
            self.waiting.add(key)

    def replace_model(self, old: ReadModel, new: ReadModel) -> None:
        """Compare with the read model `new` from now on, where `old` was used."""
        self._sources.replace_model(old, new)

    def _signature(self, key: str) -> int | None:
        signatures = self._sources.ask(
            f"the artifact {key}", lambda source, _: [_number(source.signature(self._root, key))]
        )
        return None if None in signatures or not signatures else hash(tuple(signatures))


def _number(signature: int | None) -> int | None:
    return None if signature is None else int(signature)


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
