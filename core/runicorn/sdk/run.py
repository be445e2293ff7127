"""A run, as the training process records it.

Every event is with the operating system when the call returns; `meta.json`, `status.json`, `summary.json` and `logs.txt`
say the same to readers of 0.4.0's files. Nothing here waits for a server, and once a run has begun, nothing that is
logged raises because of a value or because of the storage: that is warned about, once. Images and artifacts that cannot
be what they are said to be are errors.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from runicorn.errors import shown
from runicorn.events.envelope import Payload, encode_event
from runicorn.events.run import METRICS, ImageLogged
from runicorn.remote_place import parse_remote
from runicorn.run_files import ENVIRONMENT_FILE, FINISHED, INTERRUPTED, MEDIA_DIRECTORY
from runicorn.sdk import exit_hooks
from runicorn.sdk.best_in_summary import BestInSummary
from runicorn.sdk.capturing import capture_environment
from runicorn.sdk.images import image_bytes, media_name
from runicorn.sdk.monitor import AnomalyDetector, MetricMonitor
from runicorn.sdk.recording import Recording
from runicorn.sdk.remote_push import RemotePush
from runicorn.sdk.run_folders import (
    RunFolders,
    StorageNotWritable,
    discard_run_directory,
    make_run_directory,
)
from runicorn.sdk.values import PLAIN_TYPES, plain, plain_items, plain_step

if TYPE_CHECKING:
    from runicorn.artifacts import Artifact, ArtifactStorage

_STR = frozenset({str})


class Run:
    """One run. Safe for threads, for processes forked from this one, and for signal handlers.

    A pickled run (in the arguments of a spawned process) records into the same run from there; within one process,
    copies are the run itself. Only the process that made a run ends it by its own end (see `exit_hooks`).
    """

    def __init__(
        self,
        project: str | None = "default",
        storage: str | os.PathLike[str] | None = None,
        run_id: str | None = None,
        name: str | None = None,
        capture_env: bool = True,
        *,
        config: Mapping[str, Any] | None = None,
        remote: str | None = None,
    ) -> None:
        """Create the directory and files of a run with status `running`, or take over the run with the given id.

        Without `storage` the storage root is `RUNICORN_DIR`, the configured one, or `./.runicorn`. An existing run
        keeps its events; its `meta.json` and status are written anew, and steps count from 1 again. `config` is what
        `configure` is given first.

        `remote`, `ssh://[USER@]HOST[:PORT]/PATH`, is a storage root on another machine to which a process of its own
        brings the run while it is recorded. What goes wrong there is warned about and concerns nothing here.

        InvalidRemote (a ValueError) for another kind of URL, or one with a password;
        InvalidName (a ValueError) for names that cannot be directories and for the id of a run in the recycle bin;
        StorageNotWritable (an OSError) if the run cannot be created: then training could record nothing at all.
        """
        if remote is not None:
            parse_remote(remote)
        folders = make_run_directory(project, storage, run_id, name)
        self._set_up(folders, with_events=_with_events(), is_begun=False)
        try:
            self._recording.begin()
        except StorageNotWritable:
            discard_run_directory(folders)
            raise
        exit_hooks.begun(str(self.run_dir), self)
        if folders.namesake is not None:
            self._warnings.note("id", f"{folders.namesake} has the id {self.id!r}, too: one of the two is meant by it")
            self._warnings.say()
        self.configure(config)
        if capture_env:
            capture_environment(self.run_dir / ENVIRONMENT_FILE, self._recording.is_present)
        if remote is not None:
            self._push = RemotePush(folders, remote, self._warnings)
            self._push.start()

    def _set_up(self, folders: RunFolders, *, with_events: bool, is_begun: bool) -> None:
        self.id = folders.run_id
        self.project = folders.project
        self.name = folders.name
        self.storage_root: Path = folders.storage_root
        self.project_dir = folders.project_dir
        self.experiment_dir = folders.experiment_dir
        self.runs_dir = folders.runs_dir
        self.run_dir = folders.run_dir
        self.media_dir = folders.media_dir
        self.storage_backend: Any = None
        self._artifact_storage: ArtifactStorage | None = None
        self.monitor = MetricMonitor()
        self.anomaly_detector = AnomalyDetector()
        self._recording = Recording(folders, with_events=with_events, is_begun=is_begun)
        self._events = self._recording.events
        self._warnings = self._recording.warnings
        self._push: RemotePush | None = None
        # All are taken again by a signal handler that logs, or finishes the run.
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._step = 0
        self._best = BestInSummary(self._lock, self._recording.merge_summary)
        self._owner = os.getpid()
        self._is_finished = False
        _runs.add(self)

    def log(self, /, data: Mapping[str, Any] | None = None, *, step: Any = None, stage: Any = None, **kw: Any) -> None:
        """Record metrics: the items of `data` and the keywords, as one event, even if there are none.

        `step` sets the run's step counter, else that counts on by one. `stage` names a phase of the training. Values
        are numbers, text, booleans, None, lists and dicts of these, and scalars of NumPy, torch and the like; others
        are dropped, with one warning per key. The keys `step` and `global_step` in `data` are ignored.
        """
        if self._events.is_removed:
            return
        try:
            self._log(data, step, stage, kw)
        except Exception as error:
            self._warnings.note("log", f"metrics could not be recorded: {shown(repr(error))}")
        self._warnings.say()

    def log_text(self, text: str) -> None:
        """Add an entry to the run's log, with the local time of day."""
        try:
            self._recording.append_text(f"{time.strftime('%H:%M:%S')} | {text}\n".encode("utf-8", "replace"))
        except Exception as error:  # whatever str() of a foreign object raises
            self._warnings.note("log_text", f"text could not be recorded: {shown(repr(error))}")
            self._warnings.say()

    def log_image(
        self,
        key: str,
        image: object,
        step: int | None = None,
        caption: str | None = None,
        format: str = "png",
        quality: int = 90,
    ) -> str:
        """Store an image file with the run; its path, relative to the run directory.

        `image` is a PIL image, an array, bytes of an image file, or the path of one (see `images.image_bytes`, also
        for the errors). While nothing can be written, the image is dropped with a warning.
        """
        content, suffix = image_bytes(image, str(format), quality)
        name = media_name(str(key), suffix)
        path = f"{MEDIA_DIRECTORY}/{name}"
        if self._recording.store_media(name, content):
            logged = ImageLogged(
                key=str(key),
                path=path,
                step=None if step is None else plain_step(step),
                caption=None if caption is None else str(caption),
            )
            self._events.append(encode_event(time.time(), logged.event_type, logged))
        self._warnings.say()
        return path

    def summary(self, update: Mapping[str, Any] | None) -> None:
        """Set keys of the run's summary; others stay. Values as in `log`; None changes nothing.

        Text under `note` or `notes` is found by searches, in any language.
        """
        try:
            values = {} if update is None else plain_items(update, self._drop)
            if values:
                self._recording.merge_summary(values)
        except Exception as error:
            self._warnings.note("summary", f"the summary could not be recorded: {shown(repr(error))}")
        self._warnings.say()

    def configure(self, config: Mapping[str, Any] | None) -> None:
        """Record parameters of the training; others stay. Values as in `log`; None changes nothing.

        They are in the run's stream alone: readers of 0.4.0's files do not see them.
        """
        try:
            values = {} if config is None else plain_items(config, self._drop)
            if values:
                self._recording.configure(values)
        except Exception as error:
            self._warnings.note("configure", f"the configuration could not be recorded: {shown(repr(error))}")
        self._warnings.say()

    def set_primary_metric(self, metric_name: str, mode: Literal["max", "min"] = "max") -> None:
        """Keep the best value of this metric in the summary, from the next one on. ValueError for another mode."""
        self._best.follow(metric_name, mode)

    @property
    def artifact_storage(self) -> ArtifactStorage:
        """The artifacts of the run's storage root."""
        if self._artifact_storage is None:
            from runicorn.artifacts import create_artifact_storage

            self._artifact_storage = create_artifact_storage(self.storage_root)
        return self._artifact_storage

    def log_artifact(self, artifact: Artifact) -> int:
        """Save what is staged in `artifact` as a new version of it, made by this run; the number of the version.

        Unlike metrics, an artifact that cannot be saved raises: ValueError, FileNotFoundError or TypeError for content
        that cannot be, TimeoutError while others hold the artifact's lock, OSError for trouble with the storage.
        """
        from runicorn_artifacts.run_api import log_artifact

        return log_artifact(self, artifact)

    def use_artifact(self, spec: str) -> Artifact:
        """Load a version that was saved before: `[type/]name:v3`, or `[type/]name:alias` such as `net:latest`.

        The run notes that it has used it. FileNotFoundError for what does not exist, ValueError for what cannot be meant.
        """
        from runicorn_artifacts.run_api import use_artifact

        if not isinstance(spec, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all type-checked
            raise ValueError(f"Artifact spec must be in format 'name:version' or 'name:alias', got: {spec!r}")
        return use_artifact(self, spec)

    def record(self, payload: Payload) -> None:
        """Append an event about something that belongs to the run, unless it records for 0.4.0 alone."""
        self._recording.record(payload)

    def finish(self, status: str = "finished") -> None:
        """Record the end of the run with any status. May be called again; later logging works nevertheless.

        A run with a `remote` is then waited for until it is complete there, 15 s at most (`RUNICORN_PUSH_WAIT_S`).
        """
        push = self._push
        if push is not None:
            push.prepare_end()
        with self._ending:
            self._finish(str(status), None)
        if push is not None:
            push.wait()

    def end(self, status: str, exit_reason: str) -> None:
        """Record an end that the training did not announce itself, unless it has done so, or is about to."""
        with self._ending:
            if not self._is_finished:
                self._finish(status, exit_reason)

    def save(self, *, is_last: bool = False) -> None:
        """Write whatever waits in memory; `is_last`: and warn about what is lost now."""
        self._best.save()
        self._recording.flush()
        if is_last:
            self._recording.warn_about_loss()

    def release(self) -> None:
        """Close the run's descriptors until it records again."""
        self._recording.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the run, unless that was done explicitly, or this is a forked child of the process that made it."""
        if self._is_finished or os.getpid() != self._owner:
            return
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish(FINISHED)
        elif isinstance(error, GeneratorExit):
            self.finish(INTERRUPTED)
        else:
            self.end(*exit_hooks.end_of(error))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rejoin, (self._recording.folders, self._recording.with_events, self._step)

    def __repr__(self) -> str:
        return f"Run({self.project}/{self.name}/{self.id})"

    def _log(self, data: object, step: object, stage: object, values: dict[str, Any]) -> None:
        if type(data) is dict:
            values = {**data, **values}
        elif data is not None:
            values = {**plain_items(data, self._drop), **values}
        values.pop("step", None)
        values.pop("global_step", None)
        own_stage = values.pop("stage", None)
        stage = self._plain_stage(own_stage if stage is None else stage)
        if not (PLAIN_TYPES.issuperset(map(type, values.values())) and _STR.issuperset(map(type, values))):
            values = plain_items(values, self._drop)
        with self._lock:
            number = self._next_step(step)
            ts = time.time()
            try:
                line = _metrics_line(ts, number, stage, values)
            except Exception:  # an integer that is too long for anybody to read: it alone is dropped
                values = plain_items(values, self._drop)
                line = _metrics_line(ts, number, stage, values)
            self._events.append(line)
            self._best.offer(values, number)
        for alert in self.monitor.check_metrics(values):
            self.log_text(alert)

    def _next_step(self, step: object) -> int:
        number = None
        if step is not None:
            number = plain_step(step)
            if number is None:
                self._warnings.note("step", f"a step is not a whole number: {type(step).__name__}; counting on instead")
        if number is None:
            number = self._step + 1
        self._step = number
        return number

    def _plain_stage(self, stage: object) -> object:
        if stage is None or type(stage) is str:
            return stage
        try:
            return plain(stage)
        except Exception:
            self._drop("stage", type(stage).__name__)
            return None

    def _drop(self, key: str, why: str) -> None:
        what = f"the value of {shown(key)!r} is" if key else "the data is"
        self._warnings.note(f"value {key}", f"{what} not recorded: {shown(why)}")

    def _finish(self, status: str, exit_reason: str | None) -> None:
        self._best.save()
        self._recording.finish(status, exit_reason)
        self._is_finished = True
        exit_hooks.finished(str(self.run_dir))
        self._warnings.say()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._best.after_fork(self._lock)
        self._recording.after_fork()


def _metrics_line(ts: float, step: int, stage: object, values: dict[str, Any]) -> bytes:
    record = {**values, "global_step": step, "time": ts}
    if stage is not None:
        record["stage"] = stage
    return encode_event(ts, METRICS, record)


def _with_events() -> bool:
    """Whether events that 0.4.0 does not know are recorded, too."""
    return os.environ.get("RUNICORN_DISABLE_MODERN_STORAGE", "").strip().lower() not in ("1", "true", "yes")


def _rejoin(folders: RunFolders, with_events: bool, step: int) -> Run:
    """What a pickled run becomes: the run itself in its own process, elsewhere another one that records into it."""
    for run in list(_runs):
        if run.run_dir == folders.run_dir:
            return run
    run = Run.__new__(Run)
    run._set_up(folders, with_events=with_events, is_begun=True)  # pyright: ignore[reportPrivateUsage]  # of this module
    run._owner = -1  # pyright: ignore[reportPrivateUsage]  # of this module
    run._step = step  # pyright: ignore[reportPrivateUsage]  # of this module
    exit_hooks.joined(run)
    return run


_runs: weakref.WeakSet[Run] = weakref.WeakSet()


def _after_fork() -> None:
    for run in list(_runs):
        run._after_fork()  # pyright: ignore[reportPrivateUsage]  # of this module


os.register_at_fork(after_in_child=_after_fork)
