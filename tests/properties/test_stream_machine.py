"""Whatever happens to files, in whatever order: the read model says what the files say.

The expectation is worked out from the files alone (`tests.run_rows`), and from which directories exist.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from runicorn.events.append import StreamWriter
from runicorn.events.discovery import find_runs
from runicorn.events.envelope import encode_event
from tests.projecting import InProcess
from tests.projector_process import RunningProjector
from tests.run_rows import actual_rows, expected_rows

KEYS = ["p/n/runs/a", "p/ü/runs/b", "runs/c"]
keys = st.sampled_from(KEYS)
times = st.floats(min_value=1.0, max_value=5.0, width=16)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    ts = draw(times)
    kind = draw(st.sampled_from(["run.created", "run.finished", "run.summarized", "metrics", "metrics"]))
    data: dict[str, dict[str, Any]] = {
        "run.created": {"run_id": "x", "project": draw(st.sampled_from("pq")), "name": "n", "created_at": ts},
        "run.finished": {"status": draw(st.sampled_from(["finished", "failed"])), "ended_at": ts},
        "run.summarized": {"update": {draw(st.sampled_from("ab")): draw(st.integers(0, 3))}},
        "metrics": {"loss": ts, "global_step": 1},
    }
    return encode_event(ts, kind, data[kind])


class Files(RuleBasedStateMachine):
    """What trainings, people and crashes do to the files of a root."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.root = Path(self._directory.name) / "root"
        self.state = Path(self._directory.name) / "state"
        self.root.mkdir()
        (self.root / ".runicorn" / "log").mkdir(parents=True)
        self.rest: dict[str, bytes] = {}
        self.is_running = False

    # ── what a projector must do; see the subclasses ────────────────────────

    def start_projector(self) -> None:
        raise NotImplementedError

    def stop_projector(self) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        """Have the projector find and apply everything."""
        raise NotImplementedError

    def found(self) -> Any:
        """The rows of the read model."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.start_projector()
        self.is_running = True

    # ── streams ─────────────────────────────────────────────────────────────

    def stream(self, key: str) -> Path:
        (self.root / key).mkdir(parents=True, exist_ok=True)
        return self.root / key / "events.jsonl"

    def write(self, path: Path, data: bytes, mode: str) -> None:
        with path.open(mode) as file:
            file.write(data)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))  # the kernel's own clock ticks only every few milliseconds

    @rule(key=keys, batch=st.lists(events(), min_size=1, max_size=4))
    def append(self, key: str, batch: list[bytes]) -> None:
        writer = StreamWriter(self.stream(key))
        writer.append(b"".join(batch))
        writer.close()
        self.rest.pop(key, None)

    @rule(key=keys, event=events(), lost=st.integers(1, 30))
    def crash_while_appending(self, key: str, event: bytes, lost: int) -> None:
        if key not in self.rest:
            self.write(self.stream(key), event[:-lost], "ab")
            self.rest[key] = event[-lost:]

    @rule(key=keys)
    def complete_the_torn_line(self, key: str) -> None:
        rest = self.rest.pop(key, None)
        if rest is not None:
            self.write(self.stream(key), rest, "ab")

    @rule(
        key=keys, junk=st.sampled_from([b"garbage\n", b"\n", b"{\n", b"\x00\x00\n", b'{"ts":1}{"ts":2}\n', b"[]\r\n"])
    )
    def append_a_corrupt_line(self, key: str, junk: bytes) -> None:
        self.write(self.stream(key), junk, "ab")
        self.rest.pop(key, None)

    @rule(key=keys, keep=st.integers(0, 200))
    def truncate(self, key: str, keep: int) -> None:
        path = self.stream(key)
        if path.exists():
            os.truncate(path, min(keep, path.stat().st_size))
            os.utime(path, ns=(time.time_ns(), time.time_ns()))
            self.rest.pop(key, None)

    @rule(key=keys, batch=st.lists(events(), max_size=4))
    def replace_by_another_file(self, key: str, batch: list[bytes]) -> None:
        path = self.stream(key)
        other = path.with_suffix(".new")
        self.write(other, b"".join(batch), "wb")
        other.replace(path)
        self.rest.pop(key, None)

    @rule(key=keys, batch=st.lists(events(), min_size=1, max_size=3))
    def rewrite_in_place_longer_and_other(self, key: str, batch: list[bytes]) -> None:
        path = self.stream(key)
        before = path.read_bytes() if path.exists() else b""
        other = encode_event(time.time(), "metrics", {"first": os.urandom(4).hex()}) + before + b"".join(batch)
        self.write(path, other, "r+b" if before else "wb")
        self.rest.pop(key, None)

    @rule(key=keys, place=st.integers(0, 10_000), digit=st.sampled_from(b"1234"))
    def overwrite_a_digit(self, key: str, place: int, digit: int) -> None:
        self.settle()  # an edit of what was applied is noticed where nothing is appended meanwhile
        path = self.stream(key)
        data = bytearray(path.read_bytes() if path.exists() else b"")
        places = [number for number, byte in enumerate(data) if byte in b"1234"]
        if places:
            data[places[place % len(places)]] = digit
            self.write(path, bytes(data), "r+b")
        self.compare()

    @rule(key=keys)
    def remove_the_stream(self, key: str) -> None:
        self.stream(key).unlink(missing_ok=True)
        self.rest.pop(key, None)

    @rule(key=keys)
    def remove_the_run(self, key: str) -> None:
        shutil.rmtree(self.root / key, ignore_errors=True)
        self.rest.pop(key, None)

    # ── 0.4.0's files ───────────────────────────────────────────────────────

    def write_file(self, key: str, name: str, content: str) -> None:
        (self.root / key).mkdir(parents=True, exist_ok=True)
        temporary = self.root / key / f"{name}.tmp"
        temporary.write_text(content)
        temporary.replace(self.root / key / name)

    @rule(key=keys, project=st.sampled_from(["p", "other", ""]), at=times)
    def write_meta(self, key: str, project: str, at: float) -> None:
        self.write_file(key, "meta.json", json.dumps({"project": project, "created_at": at}))

    @rule(key=keys, status=st.sampled_from(["running", "finished", "odd"]), at=times)
    def write_status(self, key: str, status: str, at: float) -> None:
        self.write_file(key, "status.json", json.dumps({"status": status, "started_at": at}))

    @rule(key=keys, content=st.sampled_from(["", "[]", "{", '{"acc": NaN}', '{"best_metric_value": 3}']))
    def write_summary(self, key: str, content: str) -> None:
        self.write_file(key, "summary.json", content)

    @rule(key=keys)
    def put_into_the_recycle_bin(self, key: str) -> None:
        if (self.root / key).is_dir():
            self.write_file(key, ".deleted", json.dumps({"deleted_at": 3.0, "reason": "user_deleted"}))

    @rule(key=keys)
    def restore(self, key: str) -> None:
        (self.root / key / ".deleted").unlink(missing_ok=True)

    # ── the projector ───────────────────────────────────────────────────────

    @rule()
    def restart_the_projector(self) -> None:
        self.stop_projector()
        self.start_projector()

    @rule()
    def lose_the_read_models(self) -> None:
        self.stop_projector()
        shutil.rmtree(self.state, ignore_errors=True)
        self.start_projector()

    @rule()
    def compare(self) -> None:
        self.settle()
        rows, activity = self.found()
        assert (rows, activity) == expected_rows(self.root)
        assert set(rows) == {run.key for run in find_runs(self.root)}
        assert is_recycled(self.root, rows)

    def teardown(self) -> None:
        try:
            if self.is_running:
                self.compare()
        finally:
            if self.is_running:
                self.stop_projector()
            self._directory.cleanup()


def is_recycled(root: Path, rows: Any) -> bool:
    """Whether the read model and the markers in the run directories agree on the recycle bin."""
    return {key for key, row in rows.items() if not row["listed"]} == {
        key for key in rows if (root / key / ".deleted").exists()
    }


class FilesAndProjector(Files):
    """With the projector's own loop in this process."""

    projector: InProcess

    def start_projector(self) -> None:
        self.projector = InProcess(self.root, self.state)

    def stop_projector(self) -> None:
        self.projector.close()

    def settle(self) -> None:
        self.projector.work()
        self.projector.sweep()

    def found(self) -> Any:
        return actual_rows(self.projector.db)

    @rule()
    def work_a_little(self) -> None:
        self.projector.projector.work()


class FilesAndProcess(Files):
    """With a real projector process, killed at any moment."""

    projector: RunningProjector

    def start_projector(self) -> None:
        self.projector = RunningProjector(self.root, self.state)

    def stop_projector(self) -> None:
        self.projector.kill()

    def settle(self) -> None:
        wanted = expected_rows
        self.projector.wait_until(
            lambda: (
                self.projector.is_live()
                and self.found() == wanted(self.root)
                and set(self.found()[0]) == {run.key for run in find_runs(self.root)}
                and is_recycled(self.root, self.found()[0])
            )
        )

    def found(self) -> Any:
        return self.projector.rows()


@pytest.mark.slow(4)
def test_the_read_model_follows_whatever_happens_to_the_files():
    run_state_machine_as_test(
        FilesAndProjector,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.slow
def test_a_projector_process_follows_whatever_happens_to_the_files():
    run_state_machine_as_test(
        FilesAndProcess,
        settings=settings(
            max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
