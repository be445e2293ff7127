"""Streams that are edited in place: what they say now is applied, once, and nothing that says the same is applied again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runicorn.events import log as log_module
from runicorn.events.log import Stream
from runicorn.projection.catch_up import Applied, catch_up
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event

RUN = Stream("run", "p/n/runs/a")
LINES = [metrics_event(global_step=step, loss=0.5, note="x" * 64) for step in (1, 2)]
SIZE = sum(map(len, LINES))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[InProcess]:
    make_run(tmp_path / "root", RUN.name, events="".join(LINES))
    running = InProcess(tmp_path / "root", tmp_path / "state")
    running.work()
    yield running
    running.close()


def caught_up(running: InProcess) -> Applied:
    return catch_up(running.log, list(running.models.values()), RUN)


def edit(running: InProcess, old: bytes, new: bytes) -> None:
    """Overwrite what stands in the second line, as an editor does that keeps file and size."""
    path = running.log.root / RUN.name / "events.jsonl"
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(old, len(LINES[0])))
        file.write(new)
    later(path)


def later(path: Path) -> None:
    os.utime(
        path, ns=(0, path.stat().st_mtime_ns + 10**9)
    )  # the clock of the file system ticks only every few milliseconds


def test_an_edit_of_equal_size_is_applied_once(running: InProcess) -> None:
    assert caught_up(running) == Applied()
    edit(running, b"0.5", b"0.7")
    assert caught_up(running) == Applied(0, SIZE, 2, forgot=True)
    assert caught_up(running) == Applied()
    running.projector.take_notices()
    running.sweep()
    assert RUN.name not in [name for notice in running.projector.take_notices() for name, *_ in notice.streams]


def test_a_long_stream_is_compared_in_slices(running: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_SLICE_BYTES", SIZE // 4)
    path = running.log.root / RUN.name / "events.jsonl"
    later(path)
    for _ in range(3):
        assert caught_up(running) == Applied(more=True)
    assert caught_up(running) == Applied(SIZE, SIZE)
    assert caught_up(running) == Applied()

    later(path)
    for _ in range(2):
        assert caught_up(running) == Applied(more=True)
    edit(running, b"0.5", b"0.7")  # meanwhile: it begins again
    for _ in range(3):
        assert caught_up(running) == Applied(more=True)
    assert caught_up(running) == Applied(0, SIZE, 2, forgot=True)
    assert caught_up(running) == Applied()

    edit(running, b"0.7", b"0.9")
    running.sweep()
    assert caught_up(running) == Applied()
    assert running.log._summed == {}


def test_an_edit_before_a_torn_line_is_applied(running: InProcess) -> None:
    with (running.log.root / RUN.name / "events.jsonl").open("ab") as file:
        file.write(b'{"ts":')
    assert caught_up(running) == Applied(SIZE, SIZE)
    edit(running, b"0.5", b"0.7")
    assert caught_up(running) == Applied(0, SIZE, 2, forgot=True)
    assert caught_up(running) == Applied()


def test_another_time_alone_applies_nothing_again(running: InProcess) -> None:
    later(running.log.root / RUN.name / "events.jsonl")
    assert caught_up(running) == Applied(SIZE, SIZE)
    assert caught_up(running) == Applied()


def test_an_edit_while_nobody_looks_is_found_by_the_next_projector(running: InProcess) -> None:
    edit(running, b"0.5", b"0.7")
    successor = InProcess(running.log.root, running.log.state_dir)
    try:
        successor.work()
        assert successor.log.checksum(RUN, SIZE) == successor.models["runs"].checkpoint(RUN).checksum  # type: ignore[union-attr]  # there is one
    finally:
        successor.close()
