"""Connections that die and are made again, and who goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runicorn.plugin import recorder_of
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import AuthFailed
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from runicorn_remote.registry import Registry
from tests.plugins.remote.mirroring import RUN, target_of, write_run
from tests.serving import wait_until
from tests.sshd import Sshd


def test_a_mirror_goes_on_after_a_new_login_took_the_place_of_its_dead_connection(sshd: Sshd, tmp_path: Path) -> None:
    remote, local = tmp_path / "remote", tmp_path / "local"
    run = write_run(remote, status="running")
    local.mkdir()
    registry = Registry()
    first = registry.log_in(target_of(sshd), credentials_of(sshd), HostKeyPolicy())
    registry.make_current(first.connection)
    source = RemoteSource(target_of(sshd), str(remote))
    task = MirrorTask(first.connection, first.connection.connection_id, source, local, 0.5, recorder_of(local))
    registry.hold(first.connection, task)
    task.start()
    try:
        copy = local / RUN / "logs.txt"
        wait_until(copy.exists)
        sshd.kill()
        wait_until(lambda: not first.connection.is_alive)
        wait_until(lambda: task.report().state == "reconnecting")
        sshd.start()
        again = registry.log_in(target_of(sshd), credentials_of(sshd), HostKeyPolicy())
        assert again.connection.is_alive
        assert registry.current is again.connection
        with (run / "logs.txt").open("a") as file:
            file.write("15:30:46 | after the loss\n")
        wait_until(lambda: copy.read_bytes() == (run / "logs.txt").read_bytes(), "the mirror", timeout_s=30)
        wait_until(lambda: task.report().state == "watching")
        assert task.connection is again.connection
        assert again.connection.holders == {task}
    finally:
        task.stop()
        registry.close()


def test_a_refused_login_leaves_a_dead_connection_to_its_holders(sshd: Sshd) -> None:
    registry = Registry()
    try:
        first = registry.log_in(target_of(sshd), credentials_of(sshd), HostKeyPolicy())
        registry.hold(first.connection, "holder")
        sshd.kill()
        wait_until(lambda: not first.connection.is_alive)
        sshd.start()
        stranger = sshd.new_client_key("ed25519", authorized=False)
        with pytest.raises(AuthFailed):
            registry.log_in(
                target_of(sshd), Credentials(private_key_path=str(stranger), use_agent=False), HostKeyPolicy()
            )
        assert not first.connection.is_closed
        first.connection.reconnect()
        assert first.connection.is_alive
        assert registry.find(first.connection.connection_id) is first.connection
    finally:
        registry.close()


def credentials_of(sshd: Sshd) -> Credentials:
    return Credentials(private_key_path=str(sshd.private_key_path), use_agent=False)
