"""Connecting and logging in: a real SSH server, and servers made of paramiko for what it would not do."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from runicorn_remote.connector import Connected, Target, connect
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import (
    AuthFailed,
    AuthPartial,
    BadKey,
    BadKeyFile,
    BadPassphrase,
    ConnectFailed,
    ConnectionRefused,
    HostKeyMismatch,
    HostKeyUnknown,
    HostUnknown,
    KnownHostsUnusable,
    NoAuthMethod,
    NotSsh,
)
from runicorn_remote.host_keys import HostKeyPolicy, own_file
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import wait_until
from tests.sshd import Sshd, find_program

PASSWORD = "correct horse"
LOOPBACK = "127.0.0.1"


@pytest.fixture(autouse=True)
def _home(ssh_directory: Path) -> None:
    """No test reads the keys and hosts of the user who runs it."""


@pytest.fixture
def server() -> Iterator[ParamikoServer]:
    with ParamikoServer(password=PASSWORD) as server:
        yield server


def log_in(
    port: int, *, host: str = LOOPBACK, username: str = "me", policy: HostKeyPolicy | None = None, **secrets: object
) -> Connected:
    credentials = Credentials(**{"use_agent": False, **secrets})  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
    return connect(Target(host, port, username), credentials, policy or HostKeyPolicy())


def log_in_to(sshd: Sshd, **secrets: object) -> Connected:
    return log_in(sshd.port, host=sshd.host, username=sshd.username, **secrets)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ── keys ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key_type", ["ed25519", "rsa", "ecdsa"])
def test_a_key_of_every_type_logs_in_as_text_and_as_a_file(sshd: Sshd, key_type: str) -> None:
    path = sshd.new_client_key(key_type)
    for secrets in ({"private_key": path.read_text()}, {"private_key_path": str(path)}):
        connected = log_in_to(sshd, **secrets)
        assert connected.method == "key"
        connected.close()
    assert sshd.wait_idle()


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
@pytest.mark.parametrize("key_type", ["rsa", "ecdsa"])
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_older_forms_of_keys_log_in(sshd: Sshd, form: str, key_type: str, passphrase: str) -> None:
    path = sshd.new_client_key(key_type)
    command = [find_program("ssh-keygen"), "-q", "-p", "-m", form, "-P", "", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    log_in_to(sshd, private_key=path.read_text(), passphrase=passphrase or None).close()


def test_an_encrypted_key_wants_its_passphrase(sshd: Sshd) -> None:
    text = sshd.new_client_key("ed25519", passphrase="open sesame").read_text()
    for wrong in (None, "", "open barley"):
        with pytest.raises(BadPassphrase):
            log_in_to(sshd, private_key=text, passphrase=wrong)
    log_in_to(sshd, private_key=text, passphrase="open sesame").close()


def test_a_passphrase_that_is_not_needed_is_ignored(sshd: Sshd) -> None:
    log_in_to(sshd, private_key_path=str(sshd.private_key_path), passphrase="not needed").close()


@pytest.mark.parametrize("text", ["nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "\x00", "é" * 10, "x" * 70_000])
def test_text_that_is_no_key_is_refused_before_a_packet_is_sent(server: ParamikoServer, text: str) -> None:
    with pytest.raises(BadKey, match="Invalid private key format"):
        log_in(server.port, private_key=text)
    assert server.transports == []


def test_a_key_file_that_cannot_be_used_has_one_text(server: ParamikoServer, tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_text("nonsense")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path / "nonsense", tmp_path, tmp_path / "pipe", "/dev/zero", "a\0b"):
        with pytest.raises(BadKeyFile) as caught:
            log_in(server.port, private_key_path=str(path))
        assert str(caught.value) == "SSH connection failed: Cannot use private key file"


def test_a_default_key_is_tried_without_being_named(sshd: Sshd, ssh_directory: Path) -> None:
    (ssh_directory / "id_ed25519").write_text(sshd.private_key_path.read_text())
    connected = log_in_to(sshd, use_agent=True)
    assert connected.method == "default key"
    connected.close()


def test_a_key_of_the_agent_logs_in(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [find_program("ssh-agent"), "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL
    )
    try:
        wait_until((tmp_path / "agent").exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        add = [find_program("ssh-add"), "-q", str(sshd.private_key_path)]
        subprocess.run(add, check=True, capture_output=True)
        before = descriptors()
        connected = log_in_to(sshd, use_agent=True)
        assert connected.method == "agent"
        connected.close()
        wait_until(lambda: descriptors() == before)
    finally:
        agent.terminate()
        agent.wait()


# ── passwords ───────────────────────────────────────────────────────────────


def test_a_password_logs_in(server: ParamikoServer) -> None:
    connected = log_in(server.port, password=PASSWORD)
    assert connected.method == "password"
    assert connected.first_use
    connected.close()


def test_a_bad_key_beside_a_good_password_is_passed_over(server: ParamikoServer) -> None:
    log_in(server.port, private_key="nonsense", password=PASSWORD).close()


def test_a_server_that_asks_interactively_gets_the_password() -> None:
    with ParamikoServer(password=PASSWORD, methods="keyboard-interactive") as server:
        connected = log_in(server.port, password=PASSWORD)
        assert connected.method == "keyboard-interactive"
        connected.close()


def test_a_wrong_password_is_refused_with_the_host_key(server: ParamikoServer) -> None:
    with pytest.raises(AuthFailed) as caught:
        log_in(server.port, password="wrong")
    assert str(caught.value) == "Authentication failed: Invalid credentials"
    assert (caught.value.status, caught.value.code) == (401, "auth_failed")
    assert caught.value.host_key is not None
    assert caught.value.host_key.sha256 == server.host_key.fingerprint


@pytest.mark.parametrize("key_type", ["ed25519", "rsa", "ecdsa"])
def test_a_refused_key_is_auth_failed(sshd: Sshd, key_type: str) -> None:
    path = sshd.new_client_key(key_type, authorized=False)
    with pytest.raises(AuthFailed):
        log_in_to(sshd, private_key_path=str(path))


def test_a_server_that_wants_a_second_method_gets_it_or_it_is_said(sshd: Sshd) -> None:
    key = sshd.private_key_path.read_text()
    with ParamikoServer(password=PASSWORD, methods="publickey", further="password") as server:
        server.accounts.keys.append(paramiko.PKey.from_path(sshd.private_key_path).asbytes())
        with pytest.raises(AuthPartial):
            log_in(server.port, private_key=key)
    with ParamikoServer(password=PASSWORD, methods="publickey", further="password") as server:
        server.accounts.keys.append(paramiko.PKey.from_path(sshd.private_key_path).asbytes())
        log_in(server.port, private_key=key, password=PASSWORD).close()


def test_nothing_to_log_in_with_is_said_before_a_packet_is_sent(server: ParamikoServer) -> None:
    for use_agent in (False, True):
        with pytest.raises(NoAuthMethod):
            log_in(server.port, use_agent=use_agent, password="")
    assert server.transports == []


def test_twenty_failed_logins_leave_nothing_behind(server: ParamikoServer) -> None:
    log_in(server.port, password=PASSWORD).close()
    wait_until(lambda: server.open_sessions() == 0)
    before = descriptors(), threading.active_count()
    for _ in range(20):
        with pytest.raises(AuthFailed):
            log_in(server.port, password="wrong")
    wait_until(lambda: server.open_sessions() == 0)
    wait_until(lambda: (descriptors(), threading.active_count()) == before)
    log_in(server.port, password=PASSWORD).close()


# ── the way there ───────────────────────────────────────────────────────────


def test_a_closed_port_is_refused() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefused, match="Connection failed: Connection refused"):
        log_in(port, password=PASSWORD)


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(HostUnknown, match="Connection failed: Name or service not known"):
        log_in(22, host="no-such-host.invalid", password=PASSWORD)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_peer_that_speaks_no_ssh(greeting: bytes) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotSsh, match="Error reading SSH protocol banner"):
            log_in(listener.getsockname()[1], password=PASSWORD)
        thread.join()


def test_a_host_behind_another_is_reached_through_it(
    sshd: Sshd, ssh_directory: Path, write_config: Callable[[str], None]
) -> None:
    (ssh_directory / "id_ed25519").write_text(sshd.private_key_path.read_text())
    with Sshd(home=ssh_directory.parent / "inner") as inner:
        write_config(
            f"Host gate\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n"
            f"Host inner\n HostName {inner.host}\n Port {inner.port}\n ProxyJump gate\n"
        )
        connected = log_in(22, host="inner", username=inner.username, private_key=inner.private_key_path.read_text())
        assert len(connected.through) == 1
        assert connected.transport.is_authenticated()
        connected.close()
        assert inner.wait_idle()
    assert sshd.wait_idle()


def test_an_accepted_fingerprint_is_that_of_the_host_behind_the_others(
    sshd: Sshd, ssh_directory: Path, write_config: Callable[[str], None]
) -> None:
    (ssh_directory / "id_ed25519").write_text(sshd.private_key_path.read_text())
    with Sshd(home=ssh_directory.parent / "inner") as inner:
        write_config(
            f"Host gate\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n"
            f"Host inner\n HostName {inner.host}\n Port {inner.port}\n ProxyJump gate\n"
        )
        key = inner.private_key_path.read_text()

        def log_in_to_inner(accepted: str) -> Connected:
            policy = HostKeyPolicy(accepted=accepted)
            return log_in(22, host="inner", username=inner.username, private_key=key, policy=policy)

        log_in_to_inner(inner.host_key_fingerprint).close()
        with pytest.raises(HostKeyMismatch):
            log_in_to_inner(sshd.host_key_fingerprint)


# ── host keys ───────────────────────────────────────────────────────────────


def test_the_first_use_of_a_host_is_stored_and_reported_once(server: ParamikoServer) -> None:
    first = log_in(server.port, password=PASSWORD)
    again = log_in(server.port, password=PASSWORD)
    first.close()
    again.close()
    assert (first.first_use, again.first_use) == (True, False)
    assert own_file().read_text().startswith(f"[{LOOPBACK}]:{server.port} ecdsa-sha2-nistp256 ")
    assert own_file().stat().st_mode & 0o777 == 0o600


def test_the_key_is_stored_before_any_credential_is_sent(server: ParamikoServer) -> None:
    with pytest.raises(AuthFailed):
        log_in(server.port, password="wrong")
    assert not log_in_again(server)


def log_in_again(server: ParamikoServer) -> bool:
    connected = log_in(server.port, password=PASSWORD)
    connected.close()
    return connected.first_use


@pytest.mark.parametrize("other", [paramiko.ECDSAKey.generate, lambda: paramiko.RSAKey.generate(2048)])
def test_a_changed_key_or_another_type_sees_no_credential(
    server: ParamikoServer, other: Callable[[], paramiko.PKey]
) -> None:
    assert log_in_again(server)
    stored = own_file().read_bytes()
    before, server.host_key = server.host_key, other()
    server.accounts.attempts.clear()
    with pytest.raises(HostKeyMismatch) as caught:
        log_in(server.port, password=PASSWORD)
    failure = caught.value
    assert failure.host_key is not None
    assert failure.expected_host_key is not None
    assert (failure.host_key.sha256, failure.expected_host_key.sha256) == (
        server.host_key.fingerprint,
        before.fingerprint,
    )
    assert (server.accounts.attempts, own_file().read_bytes()) == ([], stored)


def test_a_strict_policy_refuses_a_host_that_nobody_has_seen(server: ParamikoServer) -> None:
    with pytest.raises(HostKeyUnknown, match="is not known: SHA256:"):
        log_in(server.port, password=PASSWORD, policy=HostKeyPolicy(strict=True))
    assert not own_file().exists()
    assert server.accounts.attempts == []


def test_an_accepted_fingerprint_replaces_what_was_stored_and_nothing_else(server: ParamikoServer) -> None:
    assert log_in_again(server)
    kept = "# a comment\nelsewhere.example ssh-ed25519 not-a-key\n"
    own_file().write_text(kept + own_file().read_text())
    server.host_key = paramiko.ECDSAKey.generate()
    wrong = HostKeyPolicy(accepted=paramiko.ECDSAKey.generate().fingerprint)
    with pytest.raises(HostKeyMismatch):
        log_in(server.port, password=PASSWORD, policy=wrong)
    right = HostKeyPolicy(strict=True, accepted=server.host_key.fingerprint)
    log_in(server.port, password=PASSWORD, policy=right).close()
    assert not log_in_again(server)
    assert own_file().read_text().startswith(kept)
    assert own_file().read_text().count(f":{server.port} ") == 1


def test_an_accepted_fingerprint_does_not_overrule_what_ssh_knows(server: ParamikoServer, ssh_directory: Path) -> None:
    known = paramiko.ECDSAKey.generate()
    (ssh_directory / "known_hosts").write_text(f"[{LOOPBACK}]:{server.port} {known.get_name()} {known.get_base64()}\n")
    with pytest.raises(HostKeyMismatch):
        log_in(server.port, password=PASSWORD, policy=HostKeyPolicy(accepted=server.host_key.fingerprint))


def test_a_file_in_which_nothing_parses_is_no_fresh_start_of_trust(server: ParamikoServer) -> None:
    own_file().parent.mkdir(parents=True, exist_ok=True)
    own_file().write_text("garbage\n")
    with pytest.raises(KnownHostsUnusable) as caught:
        log_in(server.port, password=PASSWORD)
    assert (caught.value.status, own_file().read_text()) == (503, "garbage\n")
    assert server.accounts.attempts == []


def test_the_policy_is_tightened_by_setting_and_environment_and_never_relaxed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not HostKeyPolicy.configured().strict
    assert HostKeyPolicy.configured(strict=True).strict
    monkeypatch.setenv("RUNICORN_SSH_STRICT", "1")
    assert HostKeyPolicy.configured(strict=False).strict


def test_credentials_are_not_shown() -> None:
    secret = Credentials(password="open sesame", private_key="open sesame", passphrase="open sesame")
    assert "sesame" not in f"{secret!r} {secret} {secret.__rich_repr__()}"


def test_every_failure_has_its_status_and_code() -> None:
    """The table of the contract, row by row."""
    found = {kind.__name__: (kind.status, kind.code) for kind in all_failures(ConnectFailed)}
    assert found == {
        "AuthFailed": (401, "auth_failed"),
        "AuthPartial": (401, "auth_partial"),
        "NoAuthMethod": (400, "no_auth_method"),
        "BadKey": (400, "bad_key"),
        "BadKeyFile": (400, "bad_key"),
        "BadPassphrase": (400, "bad_passphrase"),
        "ConnectionRefused": (400, "refused"),
        "HostUnreachable": (400, "unreachable"),
        "HostUnknown": (400, "dns"),
        "HostTimeout": (408, "timeout"),
        "NotSsh": (400, "protocol"),
        "NegotiationFailed": (400, "protocol"),
        "HostKeyMismatch": (400, "host_key_mismatch"),
        "HostKeyUnknown": (400, "host_key_unknown"),
        "KnownHostsUnusable": (503, "known_hosts_error"),
    }


def all_failures(kind: type[ConnectFailed]) -> Iterator[type[ConnectFailed]]:
    for child in kind.__subclasses__():
        yield child
        yield from all_failures(child)
