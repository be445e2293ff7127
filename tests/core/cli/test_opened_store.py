"""A store that is opened for one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from runicorn.cli import opened_store
from runicorn.cli.opened_store import open_store
from runicorn.errors import RunicornError, StorageUnavailable
from runicorn.files import file_lock
from runicorn.projection.asking import ask
from runicorn.projection.wire import PROJECTOR_LOCK, Request
from tests.serving import wait_until
from tests.stores import make_run, metrics_event


def count(db: apsw.Connection) -> int:
    return int(str(db.execute("SELECT count(*) FROM run").fetchall()[0][0]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        make_run(tmp_path, f"p/n/runs/run{number}", events=metrics_event(a=1, global_step=1))
    return tmp_path


def test_it_is_level_and_becomes_so_again(root: Path) -> None:
    with open_store(str(root)) as store:
        assert store.model("runs").query(count) == 3
        make_run(root, "p/n/runs/more", events=metrics_event(a=1, global_step=1))
        assert store.model("runs").query(count) == 3
        left: list[int] = []
        assert store.refresh(left.append)
        assert left[-1] == 0
        assert store.model("runs").query(count) == 4


def test_it_may_be_taken_as_it_is(root: Path) -> None:
    with open_store(str(root), is_level=False) as store, pytest.raises(StorageUnavailable):
        store.model("runs").query(count)
    assert not (root / ".runicorn").exists()


def test_a_damaged_read_model_is_built_again(root: Path) -> None:
    with open_store(str(root)):
        pass
    state = root / ".runicorn" / "state"
    for file in state.glob("runs-*.db"):
        file.write_bytes(b"no database at all" * 500)
    for file in [*state.glob("runs-*-wal"), *state.glob("runs-*-shm")]:
        file.unlink()
    with open_store(str(root)) as store:
        assert store.model("runs").query(count) == 3


def test_another_command_that_holds_the_lock_for_long_is_not_waited_for_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(str(root)):
        pass
    make_run(root, "p/n/runs/more", events=metrics_event(a=1, global_step=1))
    monkeypatch.setattr(opened_store, "_START_S", 0.1)
    with file_lock(root / ".runicorn/state" / PROJECTOR_LOCK), open_store(str(root)) as store:
        assert store.model("runs").query(count) == 3
    assert "may be missing" in capsys.readouterr().err


def test_a_projector_is_asked_without_an_event_loop(root: Path) -> None:
    state = root / ".runicorn" / "state"
    assert ask(state, Request(1, "status"), timeout_s=1) is None
    command = [sys.executable, "-m", "runicorn.projection", "--root", os.fspath(root), "--state-dir", os.fspath(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as projector:
        wait_until(lambda: ask(state, Request(1, "status"), timeout_s=1), "the projector")
        with open_store(str(root)) as store:
            assert store.model("runs").query(count) == 3
        reply = ask(state, Request(7, "status"), timeout_s=5)
        assert reply is not None
        assert reply.id == 7
        assert reply.status is not None
        assert reply.status.pid == projector.pid
        projector.terminate()
    assert ask(state, Request(1, "status"), timeout_s=1) is None


def test_what_is_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunicornError, match="There is no storage root"), open_store(str(tmp_path / "nowhere")):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(RunicornError), open_store(str(tmp_path), tmp_path / "file" / "state"):
        pass
