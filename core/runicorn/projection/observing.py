"""Asking the sources: what do the files of a run directory say that the read models do not?

A signature of the watched files is kept per run in the state directory, so that after a restart only directories that
changed meanwhile are read again. Losing it costs time only: a source says nothing that the read model knows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from runicorn.events.discovery import RunDirectory, run_at
from runicorn.events.log import Stream
from runicorn.events.store import StoreStream
from runicorn.projection.artifacts import ArtifactObserver
from runicorn.projection.asked_sources import AskedSources, Observed
from runicorn.projection.model import ReadModel
from runicorn.projection.recording import ObservedEvents
from runicorn.projection.signatures import Signatures
from runicorn.projection.source import ArtifactSource, KnowsRuns, ObservesRoot, Source

logger = logging.getLogger("runicorn.projection")

_ROOT = ""
"""In place of a run's key: the storage root itself."""


class Observer:
    """Turns changes of side files into events of the store stream."""

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        store: StoreStream,
        sources: Sequence[tuple[ReadModel, Source | ArtifactSource]],
    ) -> None:
        self._root = root
        self._recorded = ObservedEvents(store)
        of_artifacts = [(model, source) for model, source in sources if isinstance(source, ArtifactSource)]
        self.artifacts = ArtifactObserver(root, state_dir, self._recorded, of_artifacts)
        self._sources: AskedSources[Source] = AskedSources(
            [(model, source) for model, source in sources if not isinstance(source, ArtifactSource)]
        )
        self.files: frozenset[str] = frozenset().union(*(source.files for source in self._sources))
        """Names of the files in a run directory that any source reads."""
        self.root_files: frozenset[str] = frozenset().union(
            *(source.root_files for _, source in sources if isinstance(source, ObservesRoot))
        )
        """Names of the files in the root that any source reads."""
        self._signatures = Signatures(state_dir / "observed.db", "signature")

    @property
    def failed(self) -> dict[str, str]:
        """Plugins whose source failed, with the reason; their other work goes on."""
        return {**self._sources.failed, **self.artifacts.failed}

    def known(self) -> Iterator[str]:
        """Keys of the runs that were observed before, also in an earlier process; what changes meanwhile may be missing."""
        return (key for key in self._signatures.known() if key != _ROOT)

    def has_changed(self, key: str) -> bool:
        """Whether a watched file of the run appeared, changed or went since it was observed; True if it never was."""
        known = self._signatures.get(key)
        return known is None or self._signature(key) != known

    def never_observed(self) -> list[str]:
        """Keys of runs that read models hold and that were not observed, as far as is remembered."""
        known = self._sources.ask(
            "the runs that it knows",
            lambda source, model: (
                (run_at(key).key for key in source.known_runs(model.connection))
                if isinstance(source, KnowsRuns)
                else ()
            ),
        )
        return sorted({key for key in known if self._signatures.get(key) is None})

    def observe(self, runs: Sequence[RunDirectory], applied: Callable[[Stream], None]) -> int:
        """Ask every source about these runs and append what they say with one write; the number of events.

        `applied(stream)` must bring the read models level with the store stream before this is called again: the
        sources compare with them.
        """
        signatures = {run.key: self._signature(run.key) for run in runs}
        events: list[Observed] = []
        for run in runs:
            events += self._sources.observe(
                f"the run {run.key}", lambda source, model, run=run: source.observe(self._root, run, model.connection)
            )
        return self._record(events, signatures, applied)

    def has_root_changed(self) -> bool:
        """Whether a watched file in the root appeared, changed or went since it was observed."""
        return bool(self.root_files) and self._root_signature() != self._signatures.get(_ROOT)

    def observe_root(self, applied: Callable[[Stream], None]) -> int:
        """Like `observe`, about the files in the root."""
        signatures = {_ROOT: self._root_signature()}
        events = self._sources.observe(
            "the storage root",
            lambda source, model: (
                source.observe_root(self._root, model.connection) if isinstance(source, ObservesRoot) else ()
            ),
        )
        return self._record(events, signatures, applied)

    def _record(
        self,
        events: list[Observed],
        signatures: Mapping[str, int | None],
        applied: Callable[[Stream], None],
    ) -> int:
        if events:
            stream = self._recorded.append(events)
            if stream is None:
                return 0
            applied(stream)
        self._remember(signatures)
        return len(events)

    def forget(self, keys: Iterable[str]) -> None:
        """Observe these runs again, and the root, whether or not their files change."""
        self._remember(dict.fromkeys((*keys, _ROOT)))

    def replace_model(self, old: ReadModel, new: ReadModel) -> None:
        """Compare with the read model `new` from now on, where `old` was used."""
        self._sources.replace_model(old, new)
        self.artifacts.replace_model(old, new)

    def _remember(self, signatures: Mapping[str, int | None]) -> None:
        # After a source failed, it shall be asked about these runs by the next process.
        self._signatures.remember(signatures, is_kept=self._sources.is_complete)

    def _root_signature(self) -> int:
        text: list[str] = []
        for name in sorted(self.root_files):
            with contextlib.suppress(OSError):
                text.append(f"{name}/{_stamp(os.stat(self._root / name))}")
        return zlib.crc32("\n".join(text).encode())

    def _signature(self, key: str) -> int | None:
        """A number that changes with the watched files; None if the directory is gone.

        With the directory's own time, also a file that came and went between two looks is noticed.
        """
        text: list[str] = []
        try:
            text.append(str(os.stat(f"{self._root}/{key}").st_mtime_ns))
            with os.scandir(f"{self._root}/{key}") as entries:
                for entry in entries:
                    if entry.name in self.files:
                        text.append(f"{entry.name}/{_stamp_of(entry)}")
        except FileNotFoundError:
            if not os.path.isdir(f"{self._root}/{key}"):
                return None
        except OSError:
            pass
        return zlib.crc32("\n".join(sorted(text)).encode())


def _stamp_of(entry: os.DirEntry[str]) -> str:
    try:
        return _stamp(entry.stat())
    except OSError:  # a dangling link, or removed in this moment
        return "unreadable"


def _stamp(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns}/{stat.st_size}/{stat.st_ino}"
