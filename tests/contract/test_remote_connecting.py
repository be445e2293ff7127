"""Connecting by each of the three entries: what fails and how it is said, what logs in, and what is left behind."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle, islice
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
    agent_at,
    body_for,
    detail_for,
    failure,
    leave,
    leave_all,
    login_to,
    ok,
    serving_at_home,
    tell_agent,
)
from tests.plugins.remote.locked_files import LockedFiles
from tests.plugins.remote.mirroring import RUN, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.serving import Server, wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd, find_program

PASSPHRASE = "open sesame ü"
SAVED = "/api/config/ssh_connections"
AUTHENTICATION, CONNECTION, SSH = "Authentication failed: ", "Connection failed: ", "SSH connection failed: "


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_or_skip(home=tmp_path_factory.mktemp("remote-home")) as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def agent(home: Path) -> Iterator[Path]:
    """The socket of an agent that the server asks; it has no keys."""
    with agent_at(home / "agent"):
        yield home / "agent"


@pytest.fixture(scope="module")
def server(home: Path, agent: Path) -> Iterator[Server]:
    with serving_at_home(home, SSH_AUTH_SOCK=str(agent)) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Nothing is connected before and after a test."""
    yield server.http
    leave_all(server.http)


@pytest.fixture
def other() -> Iterator[ParamikoServer]:
    """A machine that takes a password, and can be looked at."""
    with ParamikoServer(password=PASSWORD, files=LockedFiles) as server:
        yield server


# ── failures ────────────────────────────────────────────────────────────────


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


@pytest.mark.slow
def test_whoever_takes_too_long_is_timed_out_at_every_step(server: Server, http: httpx.Client) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        patient = stack.enter_context(httpx.Client(base_url=server.url, timeout=60))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stuck = Place(stack, http, UNIFIED, Path(), Path()).peer(b"SSH-2.0-stuck\r\n", stays=True)
        slow = stack.enter_context(ParamikoServer(password=PASSWORD))
        release = threading.Event()
        stack.callback(release.set)
        slow.accounts.check_auth_password = lambda username, password: release.wait(60) and paramiko.AUTH_FAILED  # type: ignore[method-assign]

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


# ── what logs in ────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def keys(sshd: Sshd) -> dict[str, Path]:
    """A client key of every kind that the server takes."""
    found = {kind: sshd.new_client_key(kind) for kind in ("rsa", "ed25519", "ecdsa")}
    found["encrypted"] = sshd.new_client_key("ed25519", passphrase=PASSPHRASE)
    for name, passphrase in (("pkcs8", ""), ("encrypted pkcs8", PASSPHRASE)):
        path = found[name] = sshd.new_client_key("ecdsa")
        command = ["-q", "-p", "-m", "PKCS8", "-P", "", "-N", passphrase, "-f", str(path)]
        subprocess.run([find_program("ssh-keygen"), *command], check=True, capture_output=True)
    return found


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ["rsa", "ed25519", "ecdsa", "encrypted", "pkcs8", "encrypted pkcs8"])
def test_a_key_of_every_kind_logs_in(
    http: httpx.Client, sshd: Sshd, keys: dict[str, Path], entry: str, kind: str
) -> None:
    passphrase = PASSPHRASE if kind.startswith("encrypted") else None
    where = {**login_to(sshd), "private_key_path": None}
    by_text = body_for(entry, **where | {"private_key": keys[kind].read_text(), "passphrase": passphrase})
    key = ok(http.post(entry, json=by_text))["host_key"]
    assert (key["type"], key["sha256"]) == (sshd.host_key_type, sshd.host_key_fingerprint)
    leave(http, entry)
    ok(
        http.post(
            entry, json=body_for(entry, **where | {"private_key_path": str(keys[kind]), "passphrase": passphrase})
        )
    )
    leave(http, entry)
    assert sshd.wait_idle()


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_key_of_the_agent_logs_in(http: httpx.Client, sshd: Sshd, agent: Path, entry: str) -> None:
    wanted = body_for(entry, **login_to(sshd, private_key_path=None, use_agent=True))
    assert http.post(entry, json=wanted).json()["code"] == "no_auth_method"
    tell_agent(agent, str(sshd.private_key_path))
    try:
        ok(http.post(entry, json=wanted))
    finally:
        tell_agent(agent, "-D")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("methods", ["password", "keyboard-interactive"])
@pytest.mark.parametrize("key", [{}, {"private_key": "nonsense"}, {"private_key_path": "/nowhere"}])
def test_a_password_logs_in_also_beside_a_key_that_cannot_be_used(
    http: httpx.Client, entry: str, methods: str, key: dict[str, str]
) -> None:
    with ParamikoServer(password=PASSWORD, methods=methods, files=LockedFiles) as machine:
        ok(http.post(entry, json=body_for(entry, port=str(machine.port), password=PASSWORD, **key)))
        wait_until(lambda: machine.open_sessions() == 1)
        leave_all(http)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_saved_connection_logs_in_and_is_good_for_its_host_alone(
    http: httpx.Client, other: ParamikoServer, entry: str
) -> None:
    where = {"host": "127.0.0.1", "port": other.port, "username": "me"}
    saved = ok(http.post(SAVED, json={**where, "remember_password": True, "password": PASSWORD}))["key"]
    body = {"saved_key": saved, "use_agent": False, "remote_root": "~", "auto_sync": False}
    if entry != REMOTE:
        body = {name: body[name] for name in ("saved_key", "use_agent")}
    answer = ok(http.post(entry, json=body))
    if entry != LEGACY:
        assert (answer["host"], answer["port"], answer["username"]) == ("127.0.0.1", other.port, "me")
    ok(http.post(entry, json={**body, **where}))
    before = len(other.transports)
    for change in ({"host": "localhost"}, {"port": other.port + 1}, {"username": "you"}):
        refused = failure(http.post(entry, json={**body, **change}))
        assert refused == (400, "saved_key belongs to another host", None)
    ok(http.request("DELETE", f"{SAVED}/{saved}"))
    assert len(other.transports) == before


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_0_4_0_has_hidden_logs_in_and_is_encrypted_from_then_on(
    http: httpx.Client, home: Path, other: ParamikoServer, entry: str
) -> None:
    config, key = home / ".config/runicorn", os.urandom(32)
    config.mkdir(parents=True, exist_ok=True)
    (config / ".credential_key").write_bytes(key)
    hidden = base64.b64encode(bytes(a ^ b for a, b in zip(PASSWORD.encode(), cycle(key), strict=False))).decode()
    common = {"port": other.port, "username": "me", "remember_password": True}
    entries = [
        {**common, "host": "127.0.0.1", "key": f"127.0.0.1:{other.port}@me", "password": f"ENC:{hidden}"},
        {**common, "host": "elsewhere", "key": f"elsewhere:{other.port}@me", "password": "in the open"},
    ]
    (config / "config.json").write_text(json.dumps({"ssh_connections": entries}))
    body = {"saved_key": f"127.0.0.1:{other.port}@me", "use_agent": False}
    ok(http.post(entry, json={**body, "remote_root": "~", "auto_sync": False} if entry == REMOTE else body))
    text = (config / "config.json").read_text()
    assert "ENC:" not in text
    assert "in the open" not in text
    assert [bool(item["has_password"]) for item in ok(http.get(SAVED))["connections"]] == [True, True]
    assert (config / "config.json").stat().st_mode & 0o777 == 0o600
    (config / "config.json").unlink()


# ── what is left, and what is kept ──────────────────────────────────────────


def test_twenty_failed_logins_leave_nothing_and_then_a_good_one_works(
    server: Server, http: httpx.Client, other: ParamikoServer
) -> None:
    process = Path("/proc", str(server.process.pid))

    def counts() -> tuple[int, int]:
        return len(os.listdir(process / "fd")), len(os.listdir(process / "task"))

    def try_all(count: int) -> None:
        for entry in islice(cycle(ENTRIES), count):
            answer = http.post(entry, json=body_for(entry, port=other.port, password="wrong"))
            assert answer.status_code == 401
        wait_until(lambda: other.open_sessions() == 0)

    try_all(6)  # threads and caches that stay are there
    before = counts()
    try_all(20)
    wait_until(lambda: counts() <= before and counts()[1] <= before[1], f"{before}")
    for entry in ENTRIES:
        ok(http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD)))
    # The unified connection is that of the remote entry, too.
    wait_until(lambda: other.open_sessions() == 2, "the end of what only tried the password")


@pytest.mark.parametrize("entry", [UNIFIED, REMOTE])
def test_a_wrong_password_beside_a_connection_leaves_it_and_the_right_one_reuses_it(
    http: httpx.Client, other: ParamikoServer, entry: str
) -> None:
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    assert ok(http.get("/api/unified/listdir"))["items"] == []
    refused = http.post(entry, json=body_for(entry, port=other.port, password="wrong"))
    assert failure(refused)[::2] == (401, "auth_failed")
    assert ok(http.get("/api/unified/listdir"))["items"] == []
    again = ok(http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD)))
    assert again.get("reused", True) is True
    wait_until(lambda: other.open_sessions() == 1)
    assert ok(http.get("/api/unified/listdir"))["items"] == []


def test_another_connection_ends_the_former_one_but_not_its_mirror(
    server: Server, http: httpx.Client, sshd: Sshd, other: ParamikoServer, tmp_path: Path
) -> None:
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    ok(http.post(UNIFIED, json=login_to(sshd)))
    wait_until(lambda: other.open_sessions() == 0, "the end of the first connection")

    there = tmp_path / "there"
    write_run(there, status="running", hostname="elsewhere", pid=1)
    mode = {"mode": "mirror", "remote_root": str(there), "mirror_interval": 0.5}
    ok(http.post("/api/unified/configure_mode", json=mode))
    copy = server.root / RUN / "events.jsonl"
    wait_until(copy.exists)
    assert ok(http.post("/api/unified/disconnect")) == {
        "ok": False,
        "message": "Connection is in use by active modes",
        "smart_active": False,
        "mirror_active": True,
    }
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))
    with (there / RUN / "events.jsonl").open("a") as events:
        events.write('{"ts": 1736868650.0, "type": "metrics", "data": {"loss": 0.1, "global_step": 9}}\n')
    wait_until(lambda: copy.read_bytes() == (there / RUN / "events.jsonl").read_bytes(), "the line behind the switch")
    assert ok(http.post("/api/unified/disconnect"))["ok"] is True  # nothing holds this one
    wait_until(lambda: other.open_sessions() == 0)
    assert len(sshd.sessions()) > 0

    ok(http.post(UNIFIED, json=login_to(sshd)))
    assert ok(http.post("/api/unified/disconnect", json={"force": True}))["ok"] is True
    assert sshd.wait_idle()
    assert ok(http.get("/api/ssh/mirror/list"))["mirrors"] == []


# ── limits ──────────────────────────────────────────────────────────────────


def test_there_are_sixteen_sessions_at_most_also_when_several_ask_for_the_last(
    http: httpx.Client, other: ParamikoServer
) -> None:
    def connect(number: int) -> httpx.Response:
        entry = ENTRIES[number % 3]
        return http.post(entry, json=body_for(entry, port=other.port, username=f"u{number}", password=PASSWORD))

    for _ in range(15):
        ok(http.post(LEGACY, json=body_for(LEGACY, port=other.port, password=PASSWORD)))
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(connect, (1, 4, 7)))
    refused = [failure(answer)[:2] for answer in answers if answer.status_code != 200]
    assert refused == [(409, "Too many sessions")] * 2
    for number in range(3):
        assert failure(connect(number + 9))[:2] == (409, "Too many sessions")
    assert other.open_sessions() == 16
    sessions = ok(http.get("/api/ssh/sessions"))["sessions"]
    assert ok(http.post("/api/ssh/close", json={"session_id": sessions[0]["id"]})) == {"ok": True}
    ok(connect(0))


def test_there_are_sixteen_mirrors_at_most(http: httpx.Client, other: ParamikoServer) -> None:
    connection_id = ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))["connection_id"]

    def start(number: int) -> httpx.Response:
        body = {"session_id": connection_id, "remote_root": f"~/root{number}", "interval": 3600}
        return http.post("/api/ssh/mirror/start", json=body)

    tasks = [ok(start(number))["task"]["id"] for number in range(16)]
    assert len(set(tasks)) == 16
    assert failure(start(16))[:2] == (409, "Too many mirror tasks")
    mode = {"mode": "mirror", "remote_root": "~/root16"}
    assert failure(http.post("/api/unified/configure_mode", json=mode))[:2] == (409, "Too many mirror tasks")
    assert ok(start(3))["task"]["id"] == tasks[3]
    ok(http.post("/api/ssh/mirror/stop", json={"task_id": tasks[0]}))
    ok(start(16))


def test_four_connect_at_a_time_at_most(server: Server, http: httpx.Client, other: ParamikoServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, ThreadPoolExecutor(4) as threads:
        port = mute.getsockname()[1]

        def connect(number: int) -> httpx.Response:
            entry = ENTRIES[number % 3]
            body = body_for(entry, port=port, username=f"u{number}", password=PASSWORD)
            return httpx.post(f"{server.url}{entry}", json=body, timeout=60)

        waiting = [threads.submit(connect, number) for number in range(4)]
        taken = [mute.accept()[0] for _ in waiting]
        for entry in ENTRIES:
            answer = http.post(entry, json=body_for(entry, port=other.port, password=PASSWORD))
            assert failure(answer)[:2] == (503, "Too many connection attempts in progress")
        assert other.transports == []
        for connection in taken:
            connection.close()
        assert {attempt.result().json()["code"] for attempt in waiting} == {"protocol"}
    ok(http.post(UNIFIED, json=body_for(UNIFIED, port=other.port, password=PASSWORD)))


LIMITS = {
    "POST /unified/connect": 5,
    "POST /unified/disconnect": 60,
    "GET /unified/status": 240,
    "GET /unified/listdir": 30,
    "POST /unified/configure_mode": 10,
    "POST /unified/deactivate_mode": 60,
    "POST /ssh/connect": 5,
    "GET /ssh/sessions": 240,
    "POST /ssh/close": 60,
    "GET /ssh/listdir": 60,
    "POST /ssh/mirror/start": 60,
    "POST /ssh/mirror/stop": 60,
    "GET /ssh/mirror/list": 240,
    "POST /remote/connect": 5,
    "GET /remote/status": 240,
    "POST /remote/sync": 20,
    "POST /remote/download/net/v1": 30,
    "GET /remote/download/task/status": 240,
    "DELETE /remote/download/task": 60,
    "GET /remote/downloads": 240,
    "POST /remote/cache/clear": 60,
    "POST /remote/cache/cleanup": 60,
    "POST /remote/mode/switch": 60,
    "GET /remote/mode": 240,
    "POST /remote/artifacts/net/v1/alias": 60,
    "POST /remote/artifacts/net/v1/tags": 60,
    "GET /remote/verify": 60,
    "POST /remote/disconnect": 60,
}


def test_every_call_has_the_rate_limit_of_the_contract(tmp_path: Path) -> None:
    with serving_at_home(tmp_path / "home", "--log-level", "info") as server:
        for call, limit in LIMITS.items():
            method, path = call.split()
            answer = server.http.request(method, f"/api{path}", json={} if method == "POST" else None)
            assert answer.status_code != 405, call
            assert answer.headers["x-ratelimit-limit"] == str(limit), call
        answers = [server.http.post(UNIFIED, json={}).status_code for _ in range(5)]
        assert answers[-1] == 429
