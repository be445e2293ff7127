"""The mirror tasks of this server process."""

from __future__ import annotations

import threading

from runicorn.plugin import Conflict, Store
from runicorn_remote.connection import Connection
from runicorn_remote.listing import resolve_directory
from runicorn_remote.mirror.progress import MirrorReport
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from runicorn_remote.registry import Registry

MAX_TASKS = 16
DEFAULT_INTERVAL_S = 2.0
MAX_INTERVAL_S = 3600.0


class TooManyMirrors(Conflict):
    """There are 16 tasks already."""

    def __init__(self) -> None:
        super().__init__("Too many mirror tasks")


class Mirrors:
    """Starts and ends tasks. Starting and stopping block, for threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._starting = threading.Lock()
        self._mutex = threading.Lock()
        """For the dictionary, never held while a disk is waited for: status asks for the tasks on the event loop."""
        self._tasks: dict[str, MirrorTask] = {}
        self.interval_s = DEFAULT_INTERVAL_S
        """For tasks that are started without one."""

    def start(
        self, connection: Connection, session_id: str, path: str, store: Store, interval_s: float | None = None
    ) -> MirrorTask:
        """Follow the remote directory `path` into a store; a task that does so already is returned, with the new interval.

        An OperationFailed if the directory is not one, TooManyMirrors, MirrorBusy.
        """
        interval_s = self.interval_s if interval_s is None else interval_s
        with connection.shared_sftp() as sftp:
            root = resolve_directory(sftp, path)
        source = RemoteSource(connection.target, root)
        with self._starting:
            tasks = self.tasks()
            for task in tasks:
                is_same = (task.connection, task.source, task.local_root) == (connection, source, store.root)
                if is_same and not task.has_ended:
                    task.set_interval(interval_s)
                    return task
            if sum(not task.has_ended for task in tasks) >= MAX_TASKS:
                raise TooManyMirrors
            task = MirrorTask(
                connection,
                session_id,
                source,
                store.root,
                interval_s,
                store.record,
                given_up=lambda task: self._registry.release(task.connection, task),
            )
            try:
                self._registry.hold(connection, task)
            except BaseException:
                task.stop()
                raise
            with self._mutex:
                for old in tasks:  # it says no more than that it has failed
                    if old.has_ended and (old.source, old.local_root) == (source, store.root):
                        self._tasks.pop(old.task_id, None)
                while task.task_id in self._tasks:
                    task.task_id += "0"
                self._tasks[task.task_id] = task
            task.start()
            return task

    def stop(self, task_id: str) -> bool:
        """End a task; False if there is none of that id."""
        with self._mutex:
            task = self._tasks.pop(task_id, None)
        if task is None:
            return False
        task.stop()
        self._registry.release(task.connection, task)
        return True

    def stop_all(self, connection: Connection | None = None) -> None:
        """End every task, or those on one connection."""
        tasks = self.tasks(connection)
        for task in tasks:  # all at once: each may take its time
            task.request_stop()
        for task in tasks:
            self.stop(task.task_id)

    def tasks(self, connection: Connection | None = None) -> list[MirrorTask]:
        """The tasks, failed ones included, the oldest first."""
        with self._mutex:
            return [task for task in self._tasks.values() if connection is None or task.connection is connection]

    def reports(self) -> list[MirrorReport]:
        """What all tasks are doing."""
        return [task.report() for task in self.tasks()]
