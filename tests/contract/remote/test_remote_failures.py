"""Connecting by each of the three entries: what fails, and how it is said."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.contract.remote_entries import (
    ENTRIES,
    LEGACY,
    PASSWORD,
    REMOTE,
    UNIFIED,
    body_for,
    detail_for,
    failure,
    leave,
    ok,
)
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server, wait_until
from tests.sshd import find_program

PASSPHRASE = "open sesame ü"
AUTHENTICATION, CONNECTION, SSH = "Authentication failed: ", "Connection failed: ", "SSH connection failed: "


class Place:
    """Where a failure is made: machines and files until the end of the test."""

    def __init__(self, stack: ExitStack, http: httpx.Client, entry: str, home: Path, directory: Path) -> None:
        self._stack = stack
        self.http, self.entry, self.home, self.directory = http, entry, home, directory
        self.machines: list[ParamikoServer] = []

    def machine(self, *, methods: str = "password", further: str | None = None) -> ParamikoServer:
        machine = ParamikoServer(password=PASSWORD, methods=methods, further=further, files=LockedFiles)
        self._stack.enter_context(machine)
        self.machines.append(machine)
        return machine

    def peer(self, greeting: bytes, *, stays: bool = False) -> int:
        """The port of something that says `greeting`, and nothing else."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                while stays and connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        self._stack.callback(thread.join)
        return int(listener.getsockname()[1])

    def key(self) -> str:
        """The text of an encrypted key."""
        path = self.directory / "key"
        command = [find_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", PASSPHRASE, "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return path.read_text()

    def known_hosts(self, text: str) -> None:
        """Have this in our own file until the end."""
        path = self.home / ".config/runicorn/known_hosts"
        before = path.read_text() if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._stack.callback(path.write_text, before)


class Expected(NamedTuple):
    fields: dict[str, object]
    status: int
    code: str
    prefix: str | None
    """None: the text alone, by every entry."""
    text: str


def a_wrong_password(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "password": "wrong"}
    return Expected(fields, 401, "auth_failed", AUTHENTICATION, "Invalid credentials")


def a_refused_rsa_key(place: Place) -> Expected:
    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(place.directory / "rsa"))
    text = (place.directory / "rsa").read_text()
    fields: dict[str, object] = {"port": place.machine(methods="publickey").port, "private_key": text}
    return Expected(fields, 401, "auth_failed", AUTHENTICATION, "Invalid credentials")


def a_further_method(place: Place) -> Expected:
    machine = place.machine(further="publickey")
    text = "The server requires a further authentication method"
    return Expected({"port": machine.port, "password": PASSWORD}, 401, "auth_partial", AUTHENTICATION, text)


def nothing_to_log_in_with(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "use_agent": True}
    return Expected(fields, 400, "no_auth_method", SSH, "No authentication methods available")


def a_text_that_is_no_key(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "private_key": "nonsense"}
    return Expected(fields, 400, "bad_key", SSH, "Invalid private key format")


def a_key_of_a_type_that_ssh_lacks(place: Place) -> Expected:
    key = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    fields: dict[str, object] = {"port": place.machine().port, "private_key": key}
    return Expected(fields, 400, "bad_key", SSH, "Invalid private key format")


def a_key_file_that_is_missing(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "private_key_path": str(place.directory / "nothing")}
    return Expected(fields, 400, "bad_key", SSH, "Cannot use private key file")


def a_key_file_that_is_none(place: Place) -> Expected:
    (place.directory / "notes").write_text("nonsense")
    fields: dict[str, object] = {"port": place.machine().port, "private_key_path": str(place.directory / "notes")}
    return Expected(fields, 400, "bad_key", SSH, "Cannot use private key file")


def a_key_without_its_passphrase(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "private_key": place.key(), "passphrase": ""}
    return Expected(fields, 400, "bad_passphrase", SSH, "Wrong or missing passphrase for the private key")


def a_key_with_a_wrong_passphrase(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.machine().port, "private_key": place.key(), "passphrase": "open barley"}
    return Expected(fields, 400, "bad_passphrase", SSH, "Wrong or missing passphrase for the private key")


def a_closed_port(place: Place) -> Expected:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return Expected({"port": port, "password": PASSWORD}, 400, "refused", CONNECTION, "Connection refused")


def no_route(place: Place) -> Expected:
    fields: dict[str, object] = {"host": "255.255.255.255", "password": PASSWORD}  # no connection leads to all hosts
    return Expected(fields, 400, "unreachable", CONNECTION, "Host unreachable")


def a_name_of_nobody(place: Place) -> Expected:
    fields: dict[str, object] = {"host": "no-such-host.invalid", "password": PASSWORD}
    return Expected(fields, 400, "dns", CONNECTION, "Name or service not known")


def no_ssh(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.peer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "password": PASSWORD}
    return Expected(fields, 400, "protocol", SSH, "Error reading SSH protocol banner")


def a_peer_that_leaves(place: Place) -> Expected:
    fields: dict[str, object] = {"port": place.peer(b""), "password": PASSWORD}
    return Expected(fields, 400, "protocol", SSH, "Error reading SSH protocol banner")


def no_common_algorithm(place: Place) -> Expected:
    name = b"rot13@example.com"
    lists = struct.pack(">I", len(name)) + name
    payload = b"\x14" + bytes(16) + 10 * lists + bytes(5)  # RFC 4253, 7.1
    padding = 16 - (len(payload) + 5) % 8
    packet = struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)
    port = place.peer(b"SSH-2.0-odd\r\n" + packet, stays=True)
    return Expected({"port": port, "password": PASSWORD}, 400, "protocol", SSH, "SSH negotiation failed")


def a_changed_host_key(place: Place) -> Expected:
    machine = place.machine()
    ok(place.http.post(place.entry, json=body_for(place.entry, port=machine.port, password=PASSWORD)))
    leave(place.http, place.entry)
    before, machine.host_key = machine.host_key.fingerprint, paramiko.ECDSAKey.generate()
    text = f"Host key for server '127.0.0.1' does not match: got {machine.host_key.fingerprint}, expected {before}"
    return Expected({"port": machine.port, "password": PASSWORD}, 400, "host_key_mismatch", SSH, text)


def an_unknown_host(place: Place) -> Expected:
    machine = place.machine()
    text = f"Host key for server '127.0.0.1' is not known: {machine.host_key.fingerprint}"
    fields: dict[str, object] = {"port": machine.port, "password": PASSWORD, "strict_host_key": True}
    return Expected(fields, 400, "host_key_unknown", SSH, text)


def a_known_hosts_file_of_garbage(place: Place) -> Expected:
    place.known_hosts("garbage\n")
    fields: dict[str, object] = {"port": place.machine().port, "password": PASSWORD}
    return Expected(fields, 503, "known_hosts_error", SSH, "Known hosts file is not usable")


def a_saved_key_of_nothing(place: Place) -> Expected:
    fields: dict[str, object] = {"saved_key": "nothing:22@nobody"}
    return Expected(fields, 404, "not_found", None, "Connection not found: nothing:22@nobody")


FAILURES: list[Callable[[Place], Expected]] = [
    a_wrong_password,
    a_refused_rsa_key,
    a_further_method,
    nothing_to_log_in_with,
    a_text_that_is_no_key,
    a_key_of_a_type_that_ssh_lacks,
    a_key_file_that_is_missing,
    a_key_file_that_is_none,
    a_key_without_its_passphrase,
    a_key_with_a_wrong_passphrase,
    a_closed_port,
    no_route,
    a_name_of_nobody,
    no_ssh,
    a_peer_that_leaves,
    no_common_algorithm,
    a_changed_host_key,
    an_unknown_host,
    a_known_hosts_file_of_garbage,
    a_saved_key_of_nothing,
]


def nothing_is_connected(http: httpx.Client) -> bool:
    return (
        ok(http.get("/api/unified/status"))["connection_id"] is None
        and ok(http.get("/api/ssh/sessions"))["sessions"] == []
        and ok(http.get("/api/remote/status"))["status"] == "disconnected"
    )


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("failing", FAILURES)
def test_a_connection_that_cannot_be_made_says_why(
    http: httpx.Client, home: Path, tmp_path: Path, entry: str, failing: Callable[[Place], Expected]
) -> None:
    with ExitStack() as stack:
        place = Place(stack, http, entry, home, tmp_path)
        expected = failing(place)
        answer = http.post(entry, json=body_for(entry, **expected.fields))
        text = expected.text if expected.prefix is None else detail_for(entry, expected.prefix, expected.text)
        assert failure(answer) == (expected.status, text, expected.code)
        if expected.status == 401:
            key = place.machines[0].host_key
            shown = {"type": key.get_name(), "sha256": key.fingerprint, "first_use": True}
            assert answer.json()["host_key"] == shown
        assert nothing_is_connected(http)
        for machine in place.machines:
            wait_until(lambda machine=machine: machine.open_sessions() == 0, "the end of the attempt")


def test_a_peer_that_speaks_no_ssh_fills_no_log(server: Server, http: httpx.Client, home: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        place = Place(stack, http, UNIFIED, home, tmp_path)
        before = len(server.log)
        assert http.post(UNIFIED, json=body_for(UNIFIED, **no_ssh(place).fields)).status_code == 400
    wait_until(lambda: '"path":"/api/unified/connect"' in server.log[before:], "the line of the request")
    told = [json.loads(line) for line in server.log[before:].splitlines()]
    assert [line for line in told if line["level"] in ("warning", "error")] == []


BAD_HOST = "Invalid value for host: 1 to 253 characters, without white space, /, @ and what a shell interprets"
BAD_PORT = "Invalid value for port: must be between 1 and 65535"
BAD_USER = "Invalid value for username: 1 to 128 characters, without control characters"


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("fields", "detail", "of_remote"),
    [
        *(
            ({"port": port}, BAD_PORT, f"Invalid configuration: Invalid port: {port}")
            for port in (0, -1, 65536, 70000, "0", "-22", "99999")
        ),
        *(
            ({"port": port}, BAD_PORT, "Invalid configuration: Invalid port: must be between 1 and 65535")
            for port in ("abc", "", "22.0", "٢٢")
        ),
        *(
            ({"host": host}, "Missing required field: host", "Invalid configuration: Host is required")
            for host in (None, "", " \t")
        ),
        *(
            ({"username": name}, "Missing required field: username", "Invalid configuration: Username is required")
            for name in (None, "", "  ")
        ),
        *(({"host": host}, BAD_HOST, BAD_HOST) for host in ("a b", "me@there", "a/b", "a\nb", "-oProxyCommand=x", "x" * 254)),
        *(({"username": name}, BAD_USER, BAD_USER) for name in ("a\nb", "a\x7f", "x" * 129)),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_without_a_packet(
    http: httpx.Client, other: ParamikoServer, entry: str, fields: dict[str, object], detail: str, of_remote: str
) -> None:
    if entry == LEGACY and detail.startswith("Missing"):
        detail = "host and username are required"
    answer = http.post(entry, json=body_for(entry, **{"port": other.port, "password": PASSWORD, **fields}))
    assert failure(answer)[:2] == (400, of_remote if entry == REMOTE else detail)
    assert other.transports == []
    assert nothing_is_connected(http)


def test_the_remote_entry_names_what_its_configuration_lacks(http: httpx.Client, other: ParamikoServer) -> None:
    for change, reason in (
        ({"remote_root": " "}, "Remote root directory is required"),
        ({"password": ""}, "At least one authentication method is required"),
        ({"sync_interval_minutes": 0}, "sync_interval_minutes must be between 1 and 1440"),
        ({"sync_interval_minutes": 1441}, "sync_interval_minutes must be between 1 and 1440"),
    ):
        answer = http.post(REMOTE, json=body_for(REMOTE, **{"port": other.port, "password": PASSWORD, **change}))
        assert failure(answer)[:2] == (400, f"Invalid configuration: {reason}")
    assert other.transports == []


@pytest.mark.parametrize("remote_root", ["~bob", "~bob/runs", "a\0b", "x" * 5000])
def test_a_root_that_cannot_be_one_is_refused_without_a_packet(
    http: httpx.Client, other: ParamikoServer, remote_root: str
) -> None:
    fields = {"port": other.port, "password": PASSWORD, "remote_root": remote_root}
    status, detail, *_ = failure(http.post(REMOTE, json=body_for(REMOTE, **fields)))
    assert status == 400
    assert detail.startswith("Invalid remote path: ")
    assert other.transports == []


@pytest.mark.slow(25)
def test_whoever_takes_too_long_is_timed_out_at_every_step(server: Server, http: httpx.Client) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        patient = stack.enter_context(httpx.Client(base_url=server.url, timeout=60))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stuck = Place(stack, http, UNIFIED, Path(), Path()).peer(b"SSH-2.0-stuck\r\n", stays=True)
        slow = stack.enter_context(ParamikoServer(password=PASSWORD))
        release = threading.Event()
        stack.callback(release.set)

        def refuse_late(username: str, password: str) -> int:
            release.wait(60)
            return paramiko.AUTH_FAILED

        slow.accounts.check_auth_password = refuse_late  # type: ignore[method-assign]  # this one is slow

        def connect(where: tuple[str, int]) -> tuple[str, httpx.Response]:
            entry, port = where
            body = body_for(
                entry, port=port, username=f"for-{entry[5:8]}", password=PASSWORD
            )  # not one after the other
            return entry, patient.post(entry, json=body)

        port = mute.getsockname()[1]
        attempts = [(entry, port) for entry in ENTRIES] + [(UNIFIED, stuck), (LEGACY, slow.port)]
        for entry, answer in [*threads.map(connect, attempts[:3]), *threads.map(connect, attempts[3:])]:
            assert failure(answer) == (408, detail_for(entry, CONNECTION, "Connection timed out"), "timeout")
