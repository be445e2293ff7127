"""The projector process: `python -m runicorn.projection --root R --state-dir S [--plugins a,b] [--without c]`.

Its standard input is a pipe held by the process that started it: end of file means that the parent died. Exit status 75
(`EX_TEMPFAIL`) says that another projector holds the lock of the state directory.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import selectors
import signal
import stat
import sys
from collections import deque
from pathlib import Path

from runicorn.errors import RunicornError
from runicorn.events.log import FileLog, Stream
from runicorn.events.source import Source
from runicorn.events.store import StoreStream
from runicorn.files import LockTimeout, lock_descriptor
from runicorn.host import PluginHost, Selection
from runicorn.projection.endpoint import Endpoint, Peer
from runicorn.projection.model import ReadModel
from runicorn.projection.observing import Observer
from runicorn.projection.projector import Projector
from runicorn.projection.reactions import Reactions
from runicorn.projection.watching import Watcher, needs_polling
from runicorn.projection.wire import Reply, Request

EXIT_LOCKED = os.EX_TEMPFAIL

logger = logging.getLogger("runicorn.projection")


class ProjectorProcess:
    """The projector with everything that wakes it: workers, watcher, signals, the end of the parent."""

    def __init__(self, root: Path, state_dir: Path, host: PluginHost) -> None:
        self.log = FileLog(root, state_dir)
        models = {
            plugin.name: ReadModel.open_newest(state_dir, plugin.name, projections)
            for plugin, projections in host.collect("projections")
        }
        sources: list[tuple[ReadModel, Source]] = [
            (models[plugin.name], source)
            for plugin, source in host.unique("sources", lambda source: source.name, "source", root=root)
            if plugin.name in models
        ]
        observer = Observer(root, state_dir, StoreStream(self.log), sources)
        self.projector = Projector(self.log, list(models.values()), observer)
        self.reactions = Reactions(state_dir, self.log, host)
        self.selector = selectors.DefaultSelector()
        self.endpoint = Endpoint(state_dir, self.selector)
        self._wake_receive, self._wake_send = os.pipe()
        os.set_blocking(self._wake_receive, False)
        os.set_blocking(self._wake_send, False)
        self._looks: deque[frozenset[str] | None] = deque()
        self._requests: deque[tuple[Peer, Request]] = deque()
        self._stopping = False
        self.watcher = Watcher(self._look, force_polling=needs_polling(root))
        self.selector.register(self._wake_receive, selectors.EVENT_READ, "wake")
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            self.selector.register(0, selectors.EVENT_READ, "parent")

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or the end of the parent."""
        signal.set_wakeup_fd(self._wake_send, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.projector.start()
        self.watcher.watch(self.projector.directories_to_watch())
        self.watcher.start()
        self.reactions.start()
        gc.collect()
        gc.freeze()
        pause = 0.0
        while not self._stopping:
            self._receive(pause)
            while self._requests:
                self._answer(*self._requests.popleft())
            while self._looks:
                self.projector.changed(self._looks.popleft())
            pause = self.projector.work()
            self._send()
        self.close()

    def close(self) -> None:
        """Stop the threads and close the files."""
        self.watcher.stop()
        self.reactions.stop()
        self.endpoint.close()
        self.projector.close()

    def _receive(self, pause: float) -> None:
        for key, mask in self.selector.select(pause):
            if key.data is self.endpoint:
                self.endpoint.accept()
            elif key.data == "wake":
                os.read(self._wake_receive, 4096)
            elif key.data == "parent":
                if not os.read(0, 4096):
                    self._stopping = True
            else:
                peer: Peer = key.data
                if mask & selectors.EVENT_WRITE:
                    self.endpoint.flush(peer)
                if mask & selectors.EVENT_READ:
                    self._requests.extend((peer, request) for request in self.endpoint.receive(peer))

    def _answer(self, peer: Peer, request: Request) -> None:
        if request.op == "apply":
            self.projector.apply_now(Stream.named(request.stream))
        elif request.op == "discover":
            self.projector.discover()
            self.projector.settle()
        status = self.projector.status(self.watcher.mode) if request.op == "status" else None
        self._send()
        self.endpoint.send(peer, Reply(request.id, status=status))

    def _send(self) -> None:
        for notice in self.projector.take_notices():
            self.endpoint.broadcast(notice)
            self.reactions.notify(notice)
        self.watcher.watch(self.projector.directories_to_watch())

    def _look(self, paths: frozenset[str] | None) -> None:
        self._looks.append(paths)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a wake-up is waiting already
            os.write(self._wake_send, b"\0")

    def _stop(self, *_: object) -> None:
        self._stopping = True


def main() -> int:
    """Run the projector; the exit status."""
    parser = argparse.ArgumentParser(prog="runicorn.projection", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--plugins")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--log-level", default="info")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    state_dir: Path = arguments.state_dir
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / "projector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        lock_descriptor(lock, timeout_s=0)
    except LockTimeout:
        return EXIT_LOCKED
    except OSError as error:
        logger.error("the state directory is not usable: %s", error.strerror)
        return 1
    try:
        host = PluginHost.load(Selection.resolve(arguments.plugins, arguments.without))
        ProjectorProcess(arguments.root, state_dir, host).run()
    except RunicornError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
