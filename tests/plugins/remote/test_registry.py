"""Connections that die and are made again, and who goes on with them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runicorn.plugin import recorder_of
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import AuthFailed, ConnectionLost
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from runicorn_remote.mirrors import Mirrors
from runicorn_remote.registry import Registry
from tests.plugins.remote.mirroring import RUN, target_of, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
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


def password() -> Credentials:
    return Credentials(password="correct horse", use_agent=False)


@pytest.mark.usefixtures("ssh_directory")
def test_a_login_that_takes_its_time_keeps_the_connection_that_another_machine_takes_the_place_of() -> None:
    """A is current and logged in to again; before that is done, B becomes current and A would be closed."""
    with ParamikoServer() as a, ParamikoServer() as b:
        registry = Registry()
        first = registry.log_in(Target("127.0.0.1", a.port, "me"), password(), HostKeyPolicy())
        registry.make_current(first.connection)
        reached, go_on = threading.Event(), threading.Event()
        check = a.accounts.check_auth_password

        def slow(username: str, password: str) -> int:
            reached.set()
            go_on.wait(30)
            return check(username, password)

        a.accounts.check_auth_password = slow  # type: ignore[method-assign]  # this one is slow
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(registry.log_in, first.connection.target, password(), HostKeyPolicy())
            assert reached.wait(30)
            other = registry.log_in(Target("127.0.0.1", b.port, "me"), password(), HostKeyPolicy())
            registry.make_current(other.connection)
            go_on.set()
            login = again.result(60)
        registry.make_current(login.connection)
        assert login.connection.is_alive
        assert registry.find(login.connection.connection_id) is login.connection
        assert other.connection.is_closed
        registry.close()


def test_a_connection_that_has_just_been_closed_cannot_be_held(sshd: Sshd) -> None:
    registry = Registry()
    login = registry.log_in(target_of(sshd), credentials_of(sshd), HostKeyPolicy())
    registry.make_current(login.connection)
    registry.leave_current()
    with pytest.raises(ConnectionLost):
        registry.hold(login.connection, "a mirror that was about to begin")
    assert login.connection.holders == set()


def test_of_machines_that_nobody_connects_to_any_more_nothing_is_kept(sshd: Sshd) -> None:
    registry = Registry()
    for number in range(3):
        target = Target(sshd.host, sshd.port, f"nobody{number}")
        with pytest.raises(AuthFailed):
            registry.log_in(target, credentials_of(sshd), HostKeyPolicy())
    assert registry._busy == {}  # pyright: ignore[reportPrivateUsage]  # what is kept


@pytest.mark.slow(3)
def test_a_mirror_that_has_failed_makes_room_for_the_next_of_the_same_root(sshd: Sshd, tmp_path: Path) -> None:
    remote, local = tmp_path / "remote", tmp_path / "local"
    write_run(remote)
    local.mkdir()
    registry = Registry()
    mirrors = Mirrors(registry)
    store = cast(Any, SimpleNamespace(root=local, record=recorder_of(local)))
    try:
        for _ in range(3):
            login = registry.log_in(target_of(sshd), credentials_of(sshd), HostKeyPolicy())
            task = mirrors.start(login.connection, login.connection.connection_id, str(remote), store)
            wait_until(lambda task=task: task.report().state == "watching", f"{task.report()}")
            login.connection.close()
            wait_until(lambda task=task: task.report().state == "error", f"{task.report()}")
            wait_until(lambda connection=login.connection: registry.find(connection.connection_id) is None)
        assert mirrors.tasks() == [task]
    finally:
        mirrors.stop_all()
        registry.close()
