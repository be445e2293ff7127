"""A projector in this process, driven by hand: the real loop's work, without its watcher and its socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost, Selection
from runicorn.projection.base import Projection
from runicorn.projection.model import ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.projector import Projector
from runicorn.projection.recording import OBSERVING_LOCK_S
from runicorn.projection.source import ArtifactSource, Source

_ROUNDS = 2000


def runs_host() -> PluginHost:
    """The plugin `runs` alone."""
    return PluginHost.load(Selection(frozenset({"runs"})))


class InProcess:
    """A projector over a root, with the projections and sources of `host`."""

    def __init__(self, root: Path, state: Path, host: PluginHost | None = None) -> None:
        self.log = FileLog(root, state)
        state.mkdir(parents=True, exist_ok=True)
        self.host = host or runs_host()
        self.projections: dict[str, Sequence[Projection]] = {
            plugin.name: projections for plugin, projections in self.host.collect("projections")
        }
        self.models = {
            name: ReadModel.open_newest(state, name, projections) for name, projections in self.projections.items()
        }
        sources: list[tuple[ReadModel, Source | ArtifactSource]] = [
            (self.models[plugin.name], source)
            for plugin, found in self.host.collect("sources", root=root)
            for source in found
        ]
        self.observer = Observer(root, state, StoreStream(self.log, lock_timeout_s=OBSERVING_LOCK_S), sources)
        self.projector = Projector(self.log, list(self.models.values()), self.observer)
        self.projector.start()

    @property
    def db(self) -> apsw.Connection:
        """The read model of the plugin `runs`."""
        return self.models["runs"].connection

    def work(self) -> None:
        """Work until nothing is known to be left."""
        models = self.projector.models
        for _ in range(_ROUNDS):
            self.projector.work()
            if not (models.dirty or models.is_building or models.is_handing_over or self.projector.is_observing):
                return
            models.last_commit = 0.0  # no pace: nobody is served meanwhile
        raise AssertionError("the projector does not come to rest")

    def sweep(self) -> None:
        """Look at everything, as the sweep does within seconds, and work on what was found."""
        for _ in range(3):  # what is observed may come to light only after what was forgotten
            for _ in self.projector.look_at_everything():
                pass
            self.work()

    def close(self) -> None:
        self.projector.close()
