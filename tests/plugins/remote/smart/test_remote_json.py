"""Locks of files on a server that were left behind, and who takes them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from runicorn_remote.smart import remote_json
from runicorn_remote.smart.remote_json import RemoteLocked, locked
from tests.plugins.remote.mirroring import connect_to
from tests.sshd import Sshd


class Overtaken:
    """An SFTP client; somebody else acts right before it takes a lock away."""

    def __init__(self, sftp: Any, act: Callable[[], object]) -> None:
        self._sftp = sftp
        self._act = act

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._sftp, name)

        def call(path: str, *arguments: object) -> Any:
            if path.endswith(".lock"):
                act, self._act = self._act, lambda: None
                act()
            return found(path, *arguments)

        return call if name in ("posix_rename", "remove") else found


def leave_lock(path: Path, age_s: float) -> Path:
    lock = path.with_name(f"{path.name}.lock")
    lock.touch()
    os.utime(lock, (time.time() - age_s, time.time() - age_s))
    return lock


def test_of_two_that_find_a_lock_that_was_left_behind_one_gets_it(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_json, "LOCK_WAIT_S", 1.0)
    path = tmp_path / "versions.json"
    path.write_text("{}")
    lock = leave_lock(path, 120)
    connection = connect_to(sshd)
    try:
        first, second = connection.open_sftp(), connection.open_sftp()
        with contextlib.ExitStack() as held:
            overtaken = cast(Any, Overtaken(second, lambda: held.enter_context(locked(first, str(path)))))
            with pytest.raises(RemoteLocked), locked(overtaken, str(path)):
                raise AssertionError("both have it")
            assert lock.exists()
        assert sorted(found.name for found in tmp_path.glob("versions*")) == ["versions.json"]
        with locked(second, str(path)):
            assert lock.exists()
    finally:
        connection.close()


def test_a_lock_that_is_held_is_waited_for_and_one_that_was_left_behind_is_not(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_json, "LOCK_WAIT_S", 0.5)
    path = tmp_path / "versions.json"
    path.write_text("{}")
    leave_lock(path, 30)
    connection = connect_to(sshd)
    try:
        sftp = connection.open_sftp()
        with pytest.raises(RemoteLocked), locked(sftp, str(path)):
            pass
        leave_lock(path, 120)
        with locked(sftp, str(path)):
            pass
        assert sorted(found.name for found in tmp_path.glob("versions*")) == ["versions.json"]
    finally:
        connection.close()
