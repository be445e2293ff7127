"""What a mirror remembers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runicorn_remote.mirror.state import MirrorState


def test_conflicts_are_counted_as_units_come_change_and_are_read_again(tmp_path: Path) -> None:
    state = MirrorState(tmp_path, "source")
    for unit, in_place in (("runs/a", False), ("runs/b", True), ("runs/c", True), ("runs/c", False), ("runs/a", False)):
        state.set_unit(unit, in_place=in_place)
    assert state.conflicts() == 2
    state.set_unit("runs/a", in_place=True)
    assert state.conflicts() == 1
    state.close()
    state = MirrorState(tmp_path, "source")
    assert state.conflicts() == 1
    state.close()


def test_the_count_of_conflicts_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """A status asks for it on the event loop, also while the state is being written."""
    state = MirrorState(tmp_path, "source")
    with ThreadPoolExecutor(1) as threads, state._mutex:  # type: ignore[reportPrivateUsage]
        assert threads.submit(state.conflicts).result(timeout=10) == 0
    state.close()
