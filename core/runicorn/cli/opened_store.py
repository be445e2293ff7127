"""The read models of a storage root, opened for one command: with a server that runs, and without.

Where a server runs, its projector keeps the read models level, and a command only reads them. Where none does, the command
brings them level itself, by a projector that lives for as long as that takes and holds the lock of the state directory
meanwhile; a server that starts just then waits for it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path

import click

from runicorn.config import state_directory, storage_root
from runicorn.errors import RunicornError, StorageUnavailable
from runicorn.events.envelope import Payload
from runicorn.events.log import FileLog, Stream
from runicorn.events.store import StoreStream
from runicorn.files import LockTimeout, file_lock
from runicorn.host import PluginHost, Selection
from runicorn.projection.asking import ask
from runicorn.projection.reading import ModelReader
from runicorn.projection.wire import PROJECTOR_LOCK, Request

_ANSWER_S = 1.0
_START_S = 5.0  # a projector that holds the lock, but does not answer yet
_APPLY_S = 5.0
_LOOK_S = 0.02

Progress = Callable[[int], None]
"""Called with the number of streams and directories that are still to be read, now and then."""


class OpenedStore:
    """A storage root whose read models are as of the last `refresh`, or newer."""

    def __init__(self, root: Path, state_dir: Path, host: PluginHost) -> None:
        self.root = root
        self.state_dir = state_dir
        self.log = FileLog(root, state_dir)
        self.host = host
        self._readers = {
            plugin.name: ModelReader(state_dir, plugin.name, projections)
            for plugin, projections in host.collect("projections")
        }

    def model(self, plugin: str) -> ModelReader:
        """The read model of a plugin. StorageUnavailable if the plugin is not enabled or has none."""
        reader = self._readers.get(plugin)
        if reader is None:
            raise StorageUnavailable(f"The plugin {plugin} is not enabled")
        return reader

    def refresh(self, progress: Progress = lambda left: None) -> bool:
        """Bring the read models level with all that is on disk now; False if they may lack something.

        They may where a server's projector does not answer, or is still behind after some seconds of live work. The first
        build is waited for.
        """
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(LockTimeout):
                _bring_level(self.root, self.state_dir, self.host, progress)
                self.reopen()
                return True
            is_level = self._is_level(progress)
            if is_level is not None or time.monotonic() > deadline:
                self.reopen()
                return is_level or False
            time.sleep(_LOOK_S)  # it starts, or it is a command like this one

    def catch_up(self, key: str) -> None:
        """Make the next query exact for one run, where a server runs; else it is as of `refresh`."""
        self.until_visible(Stream("run", key))

    def record(self, *payloads: Payload) -> Stream:
        """Append events to the store stream; the stream that they are in now is for `until_visible`.

        StorageUnavailable if nothing was recorded.
        """
        return StoreStream(self.log).append(*payloads)[0]

    def until_visible(self, *streams: Stream) -> None:
        """Have what was appended to these streams seen by all readers of a server; where none runs, nobody waits for it."""
        for stream in streams:
            ask(self.state_dir, Request(1, "apply", stream.name), timeout_s=_APPLY_S)

    def now(self) -> float:
        """The time that answers are about, in Unix seconds."""
        return time.time()

    def reopen(self) -> None:
        """Read the newest files from now on."""
        for reader in self._readers.values():
            reader.reopen()

    def _is_level(self, progress: Progress) -> bool | None:
        """Wait until the projector of the server is level; None if there is nobody to ask."""
        if ask(self.state_dir, Request(1, "discover"), timeout_s=_START_S) is None:
            return None
        deadline = time.monotonic() + _START_S
        while True:
            reply = ask(self.state_dir, Request(1, "status"), timeout_s=_ANSWER_S)
            if reply is None or reply.status is None:
                return None
            if reply.status.state == "live":
                if not reply.status.behind_streams:
                    return True
                if time.monotonic() > deadline:
                    return False
            progress(reply.status.behind_streams)
            time.sleep(_LOOK_S)


@contextlib.contextmanager
def open_store(
    storage: str | None = None, state_dir: str | Path | None = None, *, is_level: bool = True
) -> Generator[OpenedStore]:
    """The storage root that a command was given (or the configured one), with its read models level with the log.

    Long work is shown on a terminal. Without `is_level` the read models are taken as they are. RunicornError if there is
    no such root, or the state directory cannot be used.
    """
    from runicorn.root import bind, check_belongs

    root = storage_root(storage)
    if not root.is_dir():
        raise RunicornError(f"There is no storage root at {root}. Name one with --storage.")
    state = state_directory(root, state_dir)
    if is_level:
        bind(root, state)
    else:
        check_belongs(root, state)
    opened = OpenedStore(root, state, PluginHost.load(Selection.resolve()))
    try:
        if is_level:
            with _shown_progress() as progress:
                is_complete = opened.refresh(progress)
            if not is_complete:
                click.echo("The server is behind: what was logged last may be missing.", err=True)
        yield opened
    finally:
        opened.reopen()


def _bring_level(root: Path, state_dir: Path, host: PluginHost, progress: Progress) -> None:
    """Apply and observe all that is on disk. LockTimeout if another projector works here."""
    with file_lock(state_dir / PROJECTOR_LOCK, timeout_s=0):
        from runicorn.projection.assembly import assemble
        from runicorn.projection.generations import set_aside
        from runicorn.projection.model import STORAGE_ERRORS, ModelDamaged

        try:
            projector = assemble(root, state_dir, host).projector
        except ModelDamaged as damage:
            set_aside(damage.path)
            projector = assemble(root, state_dir, host).projector
        except STORAGE_ERRORS as error:
            raise StorageUnavailable from error
        try:
            projector.start()
            while projector.is_behind:
                projector.models.last_commit = 0.0  # no pace: nobody is served meanwhile
                projector.work()
                projector.take_notices()
                progress(projector.left)
        except STORAGE_ERRORS as error:
            raise StorageUnavailable from error
        finally:
            projector.close()


@contextlib.contextmanager
def _shown_progress() -> Generator[Progress]:
    """A line on standard error while work is left; nothing when that is not a terminal, or the work is short."""
    import sys

    if not sys.stderr.isatty():
        yield lambda left: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Reading the log …") as status:
        yield lambda left: status.update(f"Reading the log … {left} left" if left else "Reading the log …")
