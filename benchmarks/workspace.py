"""The stores that several benchmarks share, each written when it is first needed."""

from __future__ import annotations

import sys
import time
from functools import cached_property
from pathlib import Path

import msgspec

from benchmarks.replaying import Replay, first_build, replay
from benchmarks.sizes import EVENTS_PER_SHORT_RUN, Size
from benchmarks.store import Shape, StoredRun, write_store


class Store(msgspec.Struct, frozen=True):
    """A storage root that was generated."""

    root: Path
    shape: Shape
    runs: list[StoredRun]

    @property
    def event_files(self) -> list[Path]:
        """The run streams."""
        return [self.root / run.key / "events.jsonl" for run in self.runs]


class Workspace:
    """A directory for one session of benchmarks. Nothing in it outlives the session."""

    def __init__(self, directory: Path, size: Size) -> None:
        self.directory = directory
        self.size = size

    @cached_property
    def listed(self) -> Store:
        """Many runs with few events, as 0.4.0 wrote them."""
        return self._write("listed", Shape(runs=self.size.listed_runs, events=5, metrics=2, writer="0.4.0"))

    @cached_property
    def recycled(self) -> Store:
        """Up to three thousand runs to be deleted and restored, as 0.4.0 wrote them."""
        return self._write(
            "recycled", Shape(runs=min(3000, self.size.listed_runs), events=5, metrics=2, writer="0.4.0")
        )

    @cached_property
    def stepped(self) -> Store:
        """One run with one metric."""
        return self._write("stepped", Shape(runs=1, events=self.size.stepped_points, metrics=1, writer="0.4.0"))

    def plotted(self, metrics: int) -> Store:
        """One run with many events of some metrics."""
        return self._write(
            f"plotted-{metrics}", Shape(runs=1, events=self.size.plotted_events, metrics=metrics, writer="sdk")
        )

    @cached_property
    def long(self) -> Store:
        """Few runs with many events of four metrics each, as our SDK writes them."""
        return self._write(
            "long", Shape(runs=self.size.long_runs, events=self.size.long_events, metrics=4, writer="sdk")
        )

    @cached_property
    def short(self) -> Store:
        """Many runs of 25 events with four metrics each, as our SDK writes them."""
        shape = Shape(runs=self.size.short_runs, events=EVENTS_PER_SHORT_RUN, metrics=4, writer="sdk")
        return self._write("short", shape)

    @cached_property
    def long_replay(self) -> Replay:
        """The cold replay of `long`."""
        return self._replay(self.long, "long")

    @cached_property
    def short_replay(self) -> Replay:
        """The cold replay of `short`."""
        return self._replay(self.short, "short")

    @cached_property
    def short_first_build(self) -> Replay:
        """The first start of a projector on `short`; its state stays in `short_state`."""
        root = self.short.root
        progress("the projector's first start")
        return first_build(root, self.directory / "state-short-first")

    @cached_property
    def short_state(self) -> Path:
        """A state directory that is level with `short`, as a server leaves it."""
        assert self.short_first_build
        return self.directory / "state-short-first"

    @cached_property
    def listed_state(self) -> Path:
        """A state directory for `listed`, shared by the benchmarks that serve it; filled by the first server."""
        return self.directory / "state-listed"

    def fresh(self, name: str) -> Path:
        """A new empty directory."""
        path = self.directory / name
        path.mkdir(parents=True)
        return path

    def _write(self, name: str, shape: Shape) -> Store:
        root = self.fresh(name)
        progress(f"writing {shape.runs} runs with {shape.events} events each")
        return Store(root, shape, write_store(root, shape))

    def _replay(self, store: Store, name: str) -> Replay:
        progress(f"replaying {store.shape.runs} runs with {store.shape.events} events each")
        return replay(store.root, self.directory / f"state-{name}")


_started = time.monotonic()


def progress(text: str) -> None:
    """Tell the person who waits what is being done."""
    print(f"{time.monotonic() - _started:7.1f} s  {text}", file=sys.stderr, flush=True)
