"""Checking hosts: a real SSH server, and sockets that are something else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runicorn_remote.errors import (
    BehindProxy,
    ConnectionRefused,
    HostKeyMismatch,
    HostTimeout,
    HostUnknown,
    NegotiationFailed,
    NotSsh,
)
from runicorn_remote.host_check import CheckReport, check_host
from runicorn_remote.ssh_config import Host, HostsFile
from tests.serving import wait_until
from tests.sshd import Sshd

LOOPBACK = "127.0.0.1"


def host_at(port: int, hostname: str = LOOPBACK, key_alias: str | None = None) -> Host:
    return Host("x", hostname, None, port, None, None, [], key_alias)


def check(sshd: Sshd) -> CheckReport:
    return check_host(host_at(sshd.port), timeout_s=20)


def test_an_unknown_server_shows_banner_and_fingerprint(sshd: Sshd) -> None:
    report = check(sshd)
    assert report.banner.startswith("SSH-2.0-OpenSSH")
    assert (report.key_type, report.fingerprint) == (sshd.host_key_type, sshd.host_key_fingerprint)
    assert not report.is_known


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_a_key_in_known_hosts_is_known(sshd: Sshd, ssh_directory: Path, key_type: str) -> None:
    sshd.change_host_key(key_type)
    (ssh_directory / "known_hosts").write_text(sshd.known_hosts_line)
    assert check(sshd).is_known


def test_nobody_logs_in_and_nothing_is_written(sshd: Sshd, ssh_directory: Path) -> None:
    check(sshd)
    assert sshd.wait_idle()
    assert "authentication" not in sshd.log.lower().replace("preauth", "")
    assert list(ssh_directory.iterdir()) == []


def test_a_changed_key_is_a_mismatch_with_both_fingerprints(sshd: Sshd, ssh_directory: Path) -> None:
    (ssh_directory / "known_hosts").write_text(sshd.known_hosts_line)
    before, after = sshd.host_key_fingerprint, sshd.change_host_key()
    with pytest.raises(HostKeyMismatch) as caught:
        check(sshd)
    assert f"got {after}, expected {before}" in str(caught.value)


def test_a_revoked_key_is_refused(sshd: Sshd, ssh_directory: Path) -> None:
    (ssh_directory / "known_hosts").write_text("@revoked " + sshd.known_hosts_line)
    with pytest.raises(HostKeyMismatch):
        check(sshd)


def test_a_server_of_several_keys_is_asked_for_the_known_one(sshd: Sshd, ssh_directory: Path) -> None:
    for key_type in ("ecdsa", "rsa"):
        key = sshd.new_client_key(key_type)
        with Sshd(extra_config=[f"HostKey {key}"]) as server:
            name = server.known_hosts_line.partition(" ")[0]
            (ssh_directory / "known_hosts").write_text(f"{name} {key.with_suffix('.pub').read_text()}")
            report = check(server)
            assert report.is_known
            assert report.fingerprint != server.host_key_fingerprint


def test_the_alias_of_a_key_names_it_in_known_hosts(sshd: Sshd, ssh_directory: Path) -> None:
    _, _, key = sshd.known_hosts_line.partition(" ")
    (ssh_directory / "known_hosts").write_text(f"cluster {key}")
    assert check_host(host_at(sshd.port, key_alias="cluster"), timeout_s=20).is_known


def test_a_frozen_server_is_a_timeout(sshd: Sshd) -> None:
    sshd.freeze()
    with pytest.raises(HostTimeout, match="timed out"):
        check_host(host_at(sshd.port), timeout_s=0.5)


def test_every_check_leaves_as_many_threads_and_sockets_as_before(sshd: Sshd) -> None:
    check(sshd)
    before = threading.active_count()
    for _ in range(5):
        check(sshd)
    wait_until(lambda: threading.active_count() <= before, "the threads to end")
    assert sshd.wait_idle()


@contextlib.contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of loopback where `serve` is called with each connection."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(30)

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def until_closed(connection: socket.socket) -> None:
    connection.settimeout(30)
    with contextlib.suppress(OSError):
        while connection.recv(1000):
            pass


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x00\xff" * 100 + b"\n"])
def test_a_peer_that_ends_without_a_banner_is_not_ssh(greeting: bytes) -> None:
    with answering(lambda connection: connection.sendall(greeting)) as port, pytest.raises(NotSsh):
        check_host(host_at(port), timeout_s=20)


def test_a_peer_that_says_nothing_is_a_timeout() -> None:
    with answering(until_closed) as port, pytest.raises(HostTimeout):
        check_host(host_at(port), timeout_s=0.5)


def test_a_peer_that_breaks_off_after_its_banner_is_told_apart() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-breaks_off\r\n")

    with answering(greet) as port, pytest.raises(NegotiationFailed):
        check_host(host_at(port), timeout_s=20)


def test_a_closed_port_refuses() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefused, match="Connection refused"):
        check_host(host_at(port), timeout_s=20)


@pytest.mark.parametrize("hostname", ["no-such-host.invalid", "a" * 300, "a b", "é" * 70, "..", "x\0y"])
def test_a_name_that_does_not_resolve_is_unknown(hostname: str) -> None:
    with pytest.raises(HostUnknown):
        check_host(host_at(22, hostname), timeout_s=20)


def test_a_host_behind_another_is_not_dialled_directly(write_config: Callable[[str], None]) -> None:
    write_config("Host inner\n HostName 127.0.0.1\n ProxyJump gate\nHost odd\n ProxyCommand nc %h %p\n")
    with pytest.raises(BehindProxy, match="through ProxyJump gate"):
        check_host(HostsFile().host("inner"))
    with pytest.raises(BehindProxy, match="through a ProxyCommand"):
        check_host(HostsFile().host("odd"))
