"""A projector over the projections and sources of all plugins: what the projector process runs, and a single command."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost
from runicorn.projection.base import Projection
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS, ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.projector import Projector
from runicorn.projection.source import ArtifactSource, Source

logger = logging.getLogger("runicorn.projection")


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
    failed: dict[str, str] = {}
    for plugin, found in host.collect("projections"):
        try:
            models[plugin.name] = ReadModel.open_newest(state_dir, plugin.name, found)
        except (*STORAGE_ERRORS, *DAMAGE):
            raise
        except Exception as error:  # a stranger's schema: whatever is wrong with it concerns this plugin alone
            host.fail(plugin, f"projections: {type(error).__name__}: {error}", error)
            failed[plugin.name] = plugin.error or "projections"
        else:
            projections[plugin.name] = found
    sources: list[tuple[ReadModel, Source | ArtifactSource]] = []
    for plugin, source in host.unique("sources", lambda source: source.name, "source", root=root):
        if plugin.name in models:
            sources.append((models[plugin.name], source))
        else:
            logger.error("source %s of the plugin %s is not used: it has no read model", source.name, plugin.name)
    projector = Projector(log, list(models.values()), Observer(root, state_dir, StoreStream(log), sources))
    projector.models.failed.update(failed)
    return Assembled(projector, projections)
