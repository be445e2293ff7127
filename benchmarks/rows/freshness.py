"""How soon others see what a training process logs: in reads of its run, in commit notices, and in the list."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import monotonic, sleep

from benchmarks import baseline
from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, timed
from benchmarks.processes import hear, running, tell
from benchmarks.replaying import connect
from benchmarks.served import serving
from benchmarks.sizes import STEPS_PER_SECOND
from benchmarks.table import Row
from benchmarks.workspace import Workspace
from runicorn.projection.wire import Committed, decode_message

_STEP = b'"global_step":'
_DEADLINE_S = 60.0
_BUSY_TRAINERS = 2


def run_level_reads(space: Workspace) -> Iterator[Row]:
    """Rows for polling `metrics_step` as fast as it answers: alone, and beside two trainings that use both processors.

    A step is visible when the first answer that holds it has arrived, so its age has in it the rest of the read that just
    missed it. New runs, again and again, keep the answers small: what is measured is freshness, not encoding.
    """
    size = space.size
    root = space.fresh("fresh-reads")
    rows: list[tuple[str, Times, Times]] = []
    files: list[Path] = []
    with serving(root, space.directory / "state-fresh-reads") as server:
        client = Client(server.url)
        server.wait_until_live(client)
        for label, busy in (("", 0), (f", beside {_BUSY_TRAINERS} busy trainers", _BUSY_TRAINERS)):
            seen_after: list[float] = []
            read_times: list[float] = []
            with ExitStack() as stack:
                for _ in range(busy):
                    hear(stack.enter_context(running("benchmarks.trainer", "busy", "--storage", str(root))))
                for _ in range(size.fresh_rounds):
                    files.append(_read_while_training(client, root, size.fresh_steps, seen_after, read_times))
            rows.append((label, Times(seen_after), Times(read_times)))
        client.close()
    theirs = timed(lambda: baseline.metrics_step(files[0]))
    for label, ages, reads in rows:
        yield Row(
            name="fresh-reads",
            what=f"`log()` → visible in `metrics_step` over HTTP, {STEPS_PER_SECOND} steps/s{label}",
            budget="p50 ≤ 2 ms, p99 ≤ 15 ms",
            measured=f"{ages} of {amount(len(ages))} steps (a read: {reads})",
            baseline=f"parsing the file for each read, without HTTP: {duration(theirs)}",
            met=(ages.p50 <= 0.002 and ages.p99 <= 0.015) if size.name == "full" else None,
            values={"p50": ages.p50, "p99": ages.p99, "read_p50": reads.p50, "read_p99": reads.p99},
        )


def commit_notices(space: Workspace) -> Iterator[Row]:
    """The row for the notice that the projector sends after a commit, while nobody reads the run."""
    size = space.size
    root, state = space.fresh("fresh-notices"), space.directory / "state-fresh-notices"
    ages: list[float] = []
    with serving(root, state):
        connection = _projector(state)
        notices: list[tuple[float, Committed]] = []
        listening = threading.Thread(target=_listen, args=(connection, notices), daemon=True)
        listening.start()
        for _ in range(size.fresh_rounds):
            with _training(root, size.fresh_steps) as trainer:
                about = json.loads(hear(trainer))
                tell(trainer)
                sent: list[float] = json.loads(hear(trainer))
                ends = _line_ends(root / about["key"] / "events.jsonl")[-len(sent) :]
                _wait_for(lambda about=about, ends=ends: _seen(notices, about["key"], ends[-1]) is not None)
                for when, end in zip(sent, ends, strict=True):
                    seen = _seen(notices, about["key"], end)
                    assert seen is not None
                    ages.append(seen - when)
                tell(trainer)
        connection.shutdown(socket.SHUT_RDWR)
        listening.join()
        connection.close()
    times = Times(ages)
    yield Row(
        name="fresh-notices",
        what=f"`log()` → commit notice (live feed), {STEPS_PER_SECOND} steps/s",
        budget="p50 ≤ 20 ms, p99 ≤ 60 ms",
        measured=f"{times} of {amount(len(times))} steps",
        baseline="(polling every 3 s)",
        met=(times.p50 <= 0.020 and times.p99 <= 0.060) if size.name == "full" else None,
        values={"p50": times.p50, "p99": times.p99},
    )


def lists(space: Workspace) -> Iterator[Row]:
    """Rows for a run that begins, and for one that ends, until the polled list shows it."""
    count = space.size.endings
    root = space.fresh("fresh-list")
    begun: list[float] = []
    ended: list[float] = []
    arguments = ("endings", "--storage", str(root), "--count", str(count))
    with (
        serving(root, space.directory / "state-fresh-list") as server,
        running("benchmarks.trainer", *arguments) as trainer,
    ):
        client = Client(server.url)
        server.wait_until_live(client)
        for _ in range(count):
            tell(trainer)
            about = json.loads(hear(trainer))
            begun.append(_when_listed(client, about["id"], "running") - about["begun"])
            sleep(0.05)  # the list is at rest again
            tell(trainer)
            about = json.loads(hear(trainer))
            ended.append(_when_listed(client, about["id"], "finished") - about["ended"])
            sleep(0.05)
        client.close()
    for what, times in (
        ("`init()` → the run is in", Times(begun)),
        ("`finish()` → the new status is in", Times(ended)),
    ):
        yield Row(
            name="fresh-list",
            what=f"{what} `GET /api/runs`, polled",
            budget="p50 ≤ 20 ms, p99 ≤ 60 ms",
            measured=f"{times} of {amount(len(times))}",
            baseline="(polling every 5 s)",
            met=(times.p50 <= 0.020 and times.p99 <= 0.060) if space.size.name == "full" else None,
            values={"p50": times.p50, "p99": times.p99},
        )


def _training(root: Path, count: int) -> AbstractContextManager[subprocess.Popen[str]]:
    arguments = ("--storage", str(root), "--count", str(count), "--rate", str(STEPS_PER_SECOND))
    return running("benchmarks.trainer", "steps", *arguments)


def _read_while_training(client: Client, root: Path, count: int, ages: list[float], reads: list[float]) -> Path:
    """Poll the run of a training until all its steps were seen; add the age of each step. The run's events."""
    with _training(root, count) as trainer:
        about = json.loads(hear(trainer))
        path = f"/api/runs/{about['id']}/metrics_step"
        _wait_for(lambda: client.get(path).status == 200)
        tell(trainer)
        seen = 0
        when_seen: list[float] = []
        deadline = monotonic() + _DEADLINE_S + count / STEPS_PER_SECOND
        while seen < count:
            start = monotonic()
            body = client.get(path).body
            now = monotonic()
            reads.append(now - start)
            last = _last_step(body)
            when_seen += [now] * (last - seen)
            seen = last
            if now > deadline:
                raise TimeoutError(f"only {seen} of {count} steps became visible")
        sent: list[float] = json.loads(hear(trainer))
        ages += [seen_at - sent_at for seen_at, sent_at in zip(when_seen, sent, strict=True)]
        tell(trainer)
    return root / about["key"] / "events.jsonl"


def _last_step(body: bytes) -> int:
    at = body.rfind(_STEP)
    digits = body[at + len(_STEP) : at + len(_STEP) + 20].partition(b",")[0] if at >= 0 else b"0"
    return int(digits)


def _line_ends(path: Path) -> list[int]:
    """Offsets behind the metrics events of a stream."""
    ends: list[int] = []
    position = 0
    for line in path.read_bytes().splitlines(keepends=True):
        position += len(line)
        if b'"metrics"' in line:
            ends.append(position)
    return ends


def _projector(state_dir: Path) -> socket.socket:
    deadline = monotonic() + _DEADLINE_S
    while (connection := connect(state_dir)) is None:
        if monotonic() > deadline:
            raise TimeoutError("the projector does not listen")
        sleep(0.01)
    return connection


def _listen(connection: socket.socket, notices: list[tuple[float, Committed]]) -> None:
    with connection.makefile("rb") as lines:
        for line in lines:
            now = monotonic()
            message = decode_message(line)
            if isinstance(message, Committed):
                notices.append((now, message))


def _seen(notices: list[tuple[float, Committed]], key: str, end: int) -> float | None:
    """When the first notice came that the stream is applied up to `end`."""
    for when, notice in notices:
        if any(name == key and applied >= end for name, _, applied in notice.streams):
            return when
    return None


def _when_listed(client: Client, run_id: str, status: str) -> float:
    etag = b""
    deadline = monotonic() + _DEADLINE_S
    while True:
        answer = client.get("/api/runs", etag)
        now = monotonic()
        if answer.status == 200:
            etag = answer.etag
            if any(run["id"] == run_id and run["status"] == status for run in json.loads(answer.body)):
                return now
        if now > deadline:
            raise TimeoutError(f"the list does not show a run that is {status}")


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + _DEADLINE_S
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError("what should become visible did not")
        sleep(0.002)
