"""Servers that allow few channels on a connection: OpenSSH's default is ten, and a mirror needs up to four."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runicorn.plugin import recorder_of
from runicorn_remote.errors import ChannelRefused
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from tests.plugins.remote.mirroring import connect_to, mirrored, mirroring, target_of, wait_for_scans, write_run
from tests.serving import wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd

MAX_CHANNELS = 10


@pytest.fixture
def narrow(tmp_path: Path, ssh_directory: Path, request: pytest.FixtureRequest) -> Iterator[Sshd]:
    """A server that allows `request.param` channels on a connection."""
    with sshd_or_skip(home=tmp_path / "remote-home", extra_config=[f"MaxSessions {request.param}"]) as server:
        yield server


@pytest.mark.slow(3)
@pytest.mark.parametrize("narrow", [MAX_CHANNELS], indirect=True)
def test_four_mirrors_share_a_connection_of_ten_channels(narrow: Sshd, tmp_path: Path) -> None:
    connection = connect_to(narrow)
    tasks: list[MirrorTask] = []
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        for number in range(4):
            there = tmp_path / f"there{number}"
            write_run(there, f"vision/resnet/runs/r{number}", status="running")
            (tmp_path / f"here{number}").mkdir()
            source, here = RemoteSource(target_of(narrow), str(there)), tmp_path / f"here{number}"
            tasks.append(MirrorTask(connection, connection.connection_id, source, here, 0.5, recorder_of(here)))
            tasks[-1].start()
            undo.callback(tasks[-1].stop)
        for task in tasks:
            wait_for_scans(task, 3)
        for number, task in enumerate(tasks):
            assert (task.report().state, task.report().last_error) == ("watching", "")
            assert mirrored(tmp_path / f"here{number}") == mirrored(tmp_path / f"there{number}")
        held = [connection.open_sftp() for _ in range(MAX_CHANNELS)]  # more than the first one has left
        with connection.shared_sftp() as sftp:
            assert sftp.normalize(".")
        for sftp in held:
            sftp.close()
        lines = tmp_path / "there3/vision/resnet/runs/r3/logs.txt"
        with lines.open("a") as file:
            file.write("15:30:46 | again\n")
        wait_until(lambda: mirrored(tmp_path / "here3") == mirrored(tmp_path / "there3"))
    assert narrow.wait_idle()


@pytest.mark.parametrize("narrow", [1], indirect=True)
def test_a_server_that_allows_too_few_channels_is_said_to(
    narrow: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runicorn_remote import further

    monkeypatch.setattr(further, "MAX_FURTHER", 1)
    write_run(tmp_path / "there")
    with mirroring(narrow, tmp_path / "there", tmp_path / "here") as task:
        wait_until(lambda: task.report().last_error == str(ChannelRefused()), f"{task.report()}")
        assert task.report().state == "reconnecting"
    assert narrow.wait_idle()


def test_a_stop_does_not_wait_for_lanes_that_a_silent_server_does_not_open(sshd: Sshd, tmp_path: Path) -> None:
    write_run(tmp_path / "there")
    (tmp_path / "here").mkdir()
    connection = connect_to(sshd)
    source = RemoteSource(target_of(sshd), str(tmp_path / "there"))
    here = tmp_path / "here"
    task = MirrorTask(connection, connection.connection_id, source, here, 0.5, recorder_of(here))
    sshd.freeze()
    try:
        task.start()
        opening = f"{task.task_id} opening"
        wait_until(lambda: opening in [thread.name for thread in threading.enumerate()])
        stopping = threading.Thread(target=task.stop)
        stopping.start()
        stopping.join(3)  # who waits for the server waits for 5 s, and leaves it to write later
        assert not stopping.is_alive()
        assert task.report().state == "stopped"
    finally:
        sshd.thaw()
        connection.close()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith(task.task_id)])
    assert mirrored(here) == {}
