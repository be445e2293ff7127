"""A projector over the projections and sources of all plugins: what the projector process runs, and a single command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost, describe
from runicorn.projection.base import Projection
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS, ModelDamaged, ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.projector import Projector
from runicorn.projection.recording import OBSERVING_LOCK_S
from runicorn.projection.source import ArtifactSource, Source


class Assembled(NamedTuple):
    """A projector that has not looked at anything yet, and the projections of each plugin that has a read model."""

    projector: Projector
    projections: dict[str, Sequence[Projection]]


def assemble(root: Path, state_dir: Path, host: PluginHost) -> Assembled:
    """Open the read models of a state directory for writing: whoever calls this holds its lock.

    A plugin whose schema fails is disabled. ModelDamaged if a file has to be set aside; apsw's errors where the state
    directory cannot be used.
    """
    log = FileLog(root, state_dir)
    projections: dict[str, Sequence[Projection]] = {}
    models: dict[str, ReadModel] = {}
    for plugin, found in host.collect("projections"):
        try:
            with host.patience.call(plugin.name, "schema"):
                models[plugin.name] = ReadModel.open_newest(state_dir, plugin.name, found, patience=host.patience)
        except (*STORAGE_ERRORS, *DAMAGE, ModelDamaged, KeyboardInterrupt):
            raise
        except BaseException as error:  # a stranger's schema: whatever is wrong with it concerns this plugin alone
            host.fail(plugin, f"projections: {describe(error)}", error)
        else:
            projections[plugin.name] = found
    sources = _sources(host, root, models)
    failed = {plugin.name: plugin.error or "failed" for plugin in host.plugins if plugin.state == "failed"}
    store = StoreStream(log, lock_timeout_s=OBSERVING_LOCK_S)
    projector = Projector(log, list(models.values()), Observer(root, state_dir, store, sources))
    projector.models.failed.update(failed)
    return Assembled(projector, projections)


def _sources(
    host: PluginHost, root: Path, models: dict[str, ReadModel]
) -> list[tuple[ReadModel, Source | ArtifactSource]]:
    """The sources of all plugins. One that takes the name of another one's source disables its plugin."""
    owners: dict[str, str] = {}
    sources: list[tuple[ReadModel, Source | ArtifactSource]] = []
    for plugin, found in host.collect("sources", root=root):
        taken = next((source.name for source in found if source.name in owners), None)
        if plugin.name not in models:
            host.fail(plugin, "sources: it has no projections that they could compare with")
        elif taken is not None:
            host.fail(plugin, f"sources: the plugin {owners[taken]} has a source {taken}, too")
        else:
            owners.update((source.name, plugin.name) for source in found)
            sources += [(models[plugin.name], source) for source in found]
    return sources
