"""The projector process: `python -m runicorn.projection --root R --state-dir S [--plugins a,b] [--without c]`.

A plugin that does not return from a call ends the process by SIGALRM; `--set-aside NAME=REASON` then leaves it out.

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
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runicorn.errors import RunicornError
from runicorn.events.actor import acting
from runicorn.events.log import FileLog, Stream
from runicorn.files import LockTimeout, lock_descriptor
from runicorn.host import PluginHost, Selection
from runicorn.log_lines import set_up_logging
from runicorn.patience import Deadly
from runicorn.projection.assembly import assemble
from runicorn.projection.endpoint import Endpoint, Peer
from runicorn.projection.generations import fingerprint, newest, set_aside
from runicorn.projection.journal import Journal
from runicorn.projection.model import STORAGE_ERRORS, ModelDamaged, ReadModel
from runicorn.projection.reactions import Reactions
from runicorn.projection.watching import Watcher, needs_polling
from runicorn.projection.wire import PROJECTOR_LOCK, Committed, Reply, Request

EXIT_LOCKED = os.EX_TEMPFAIL
EXIT_AGAIN = 1

logger = logging.getLogger("runicorn.projection")


class Task(msgspec.Struct):
    """A request that a worker waits for. `size` is what the stream held when it came."""

    peer: Peer
    request: Request
    size: int = 0
    is_begun: bool = False


class ProjectorProcess:
    """The projector with everything that wakes it: workers, watcher, signals, the end of the parent."""

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        host: PluginHost,
        *,
        force_polling: bool = False,
        set_aside_plugins: Mapping[str, str] | None = None,
    ) -> None:
        self.log = FileLog(root, state_dir)
        self._patience = host.patience
        self._plugins = sorted(plugin.name for plugin in host)
        self.projector, self._projections = assemble(root, state_dir, host)
        self.projector.models.failed.update(set_aside_plugins or {})
        self._stopped_models = len(self.projector.models.failed)
        self._was_building = self.projector.models.is_building
        self._journal = Journal(state_dir, is_building=self._was_building)
        self.reactions = Reactions(state_dir, self.log, host)
        self.selector = selectors.DefaultSelector()
        self.endpoint = Endpoint(state_dir, self.selector)
        self._wake_receive, self._wake_send = os.pipe()
        os.set_blocking(self._wake_receive, False)
        os.set_blocking(self._wake_send, False)
        self._looks: deque[frozenset[str] | None] = deque()
        self._tasks: deque[Task] = deque()
        self._stopping = False
        self.watcher = Watcher(self._look, force_polling=force_polling or needs_polling(root))
        self.selector.register(self._wake_receive, selectors.EVENT_READ, "wake")
        with contextlib.suppress(OSError):  # no standard input: nobody's child
            if stat.S_ISFIFO(os.fstat(0).st_mode):
                self.selector.register(0, selectors.EVENT_READ, "parent")

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or the end of the parent."""
        signal.set_wakeup_fd(self._wake_send, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.projector.start()
        self.reactions.start(self.projector.models.standing(), self.projector.models.dirty)
        self.watcher.watch(self.projector.directories_to_watch())
        self.watcher.start()
        gc.freeze()
        gc.disable()  # until the first build is complete: it makes no cycles, and the collector takes a tenth of its time
        pause = 0.0
        while not self._stopping:
            self._receive(pause)
            if not gc.isenabled() and not self.projector.models.is_building:
                gc.enable()
            self._work_on_tasks()
            while self._looks:
                self.projector.changed(self._looks.popleft())
            pause = self.projector.work()
            if self._tasks:
                pause = 0.0
            self._broadcast()
            self.endpoint.flush_all()
            self.watcher.watch(self.projector.directories_to_watch(), self.projector.replaced_directories)
        self.close()

    def close(self) -> None:
        """Stop the threads and close the files."""
        self.watcher.stop()
        self.reactions.stop()
        self.endpoint.close()
        self.projector.close()
        self._journal.close()

    def _receive(self, pause: float) -> None:
        for key, mask in self.selector.select(pause):
            if key.data is self.endpoint:
                where = self._journal.where()
                self.endpoint.accept(Committed(self.projector.models.commit, moved=True, news=where))
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
                    self._tasks.extend(Task(peer, request) for request in self.endpoint.receive(peer))

    def _work_on_tasks(self) -> None:
        """One slice for each task, so that a long stream does not keep the others waiting."""
        for _ in range(len(self._tasks)):
            task = self._tasks.popleft()
            reply = self._attempt(task)
            if reply is None:
                self._tasks.append(task)
            else:
                # A worker hears what was committed before the reply, and wakes once for both.
                self._broadcast()
                self.endpoint.send(task.peer, reply)
                self.endpoint.flush_all()

    def _attempt(self, task: Task) -> Reply | None:
        """The reply; None if the task needs more time."""
        request, is_begun = task.request, task.is_begun
        task.is_begun = True
        match request.op:
            case "apply":
                stream = Stream.named(request.stream)
                if not is_begun:
                    position = self.log.position(stream)
                    task.size = 0 if position is None else position.size
                return Reply(request.id) if self.projector.apply_slice(stream, task.size) else None
            case "discover":
                self.projector.discover()
                self.projector.settle()
                return Reply(request.id)
            case "look":
                return Reply(request.id) if self.projector.look_at(request.stream) else None
            case "status":
                status = self.projector.status(self.watcher.mode)
                failed = {**self.reactions.problems(), **status.failed}
                slow = {} if status.state == "building" else self._patience.slow()
                status = msgspec.structs.replace(status, failed=failed, slow=slow, plugins=self._plugins)
                return Reply(request.id, status=status)
            case "reopen":
                if not is_begun:
                    return self._reopen(request)
                return None if self.projector.models.is_handing_over else Reply(request.id)

    def _reopen(self, request: Request) -> Reply | None:
        """Begin to move to the newest files of the read models; None if there is something to move to."""
        if self.projector.models.is_building:
            return Reply(request.id, ok=False, error="The read models are being built for the first time.")
        successors: list[ReadModel] = []
        for plugin, path in self.projector.models.files().items():
            latest = newest(self.log.state_dir, plugin, fingerprint(self._projections[plugin]))
            if latest is not None and latest != path:
                successors.append(ReadModel(latest, plugin, self._projections[plugin], patience=self._patience))
        if not successors:
            return Reply(request.id)
        self.projector.succeed(successors)
        return None

    def _broadcast(self) -> None:
        notices = self.projector.take_notices()
        is_news = bool(notices)
        is_building = self.projector.models.is_building
        if self._was_building and not is_building:
            self._journal.begin()  # what was built, nobody was told piece by piece
            self.endpoint.broadcast(Committed(self.projector.models.commit, news=self._journal.where()))
        self._was_building = is_building
        for notice in notices:
            if notice.news is not None:
                notice = msgspec.structs.replace(notice, news=self._journal.record(notice.news.ranges))
            self.endpoint.broadcast(notice)
        if self._stopped_models != len(self.projector.models.failed):
            self._stopped_models = len(self.projector.models.failed)
            # What a stopped read model lacked was committed in all others before: nobody was told of that.
            self._journal.begin()
            self.endpoint.broadcast(Committed(self.projector.models.commit, news=self._journal.where()))
            is_news = True
        if is_news and self.reactions:
            self.reactions.notify(self.projector.models.standing())

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
    gc.disable()  # a fifth of the start
    parser = argparse.ArgumentParser(prog="runicorn.projection", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--plugins")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--set-aside", action="append", default=[], metavar="NAME=REASON")
    parser.add_argument(
        "--poll", action="store_true", help="look for changes, as on file systems that do not tell of them"
    )
    parser.add_argument("--log-level", default="info")
    arguments = parser.parse_args()
    set_up_logging(arguments.log_level)
    state_dir: Path = arguments.state_dir
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / PROJECTOR_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        lock_descriptor(lock, timeout_s=0)
    except LockTimeout:
        return EXIT_LOCKED
    except OSError as error:
        logger.error("the state directory is not usable: %s", error.strerror)
        return 1
    try:
        aside = dict(item.split("=", 1) for item in arguments.set_aside)
        selection = Selection.resolve(arguments.plugins, [*arguments.without, *aside])
        host = PluginHost.load(selection, Deadly(state_dir))
        process = ProjectorProcess(
            arguments.root, state_dir, host, force_polling=arguments.poll, set_aside_plugins=aside
        )
        with acting("server"):
            process.run()
    except RunicornError as error:
        logger.error("%s", error)
        return 1
    except ModelDamaged as damage:
        logger.error("%s and will be built again", damage)
        set_aside(damage.path)
        return EXIT_AGAIN
    except (*STORAGE_ERRORS, OSError) as error:
        logger.error("the state directory cannot be used: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
