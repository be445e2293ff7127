"""`/api/config/ssh_connections`: saved SSH connections, and what stands for their secrets."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from runicorn.credentials.obfuscation import reveal
from tests.plugin_on_path import PluginDirectory
from tests.serving import Server, serve

__all__ = ["serve"]

PATH = "/api/config/ssh_connections"
FOREIGN = {"detail": "Saved secret belongs to another connection"}
EXPIRED = {"detail": "Saved secret reference has expired; load the connection again"}

# What the connect endpoints do with a secret that they are given.
CONNECTING = """
    import asyncio
    from litestar import post
    from runicorn.plugin import Address, Serving, hookimpl

    @post("/api/probe/connect", status_code=200)
    async def connect(serving: Serving, data: dict[str, str]) -> dict[str, bool]:
        secret = await asyncio.to_thread(
            serving.connections.resolve, data["secret"], data["field"],
            Address(data["host"], int(data["port"]), data["username"]),
        )
        return {"same": secret == data["expected"]}

    @hookimpl
    def runicorn_routes():
        return [connect]
"""


class Session:
    """A server with a configuration of its own, and a plugin that resolves references as connecting does."""

    def __init__(self, base: Path, *arguments: str) -> None:
        self.base = base
        self.directory = base / "config" / "runicorn"
        self.file = self.directory / "config.json"
        plugins = PluginDirectory(base / "plugins")
        if not (plugins.directory / "connecting.py").exists():
            plugins.add("connecting", CONNECTING)
        self._environment = {**plugins.environment, "XDG_CONFIG_HOME": str(base / "config")}
        self._arguments = arguments
        self.start()

    def start(self) -> None:
        self.server = Server(
            self.base / "root", "--rate-limit", "off", "--log-level", "debug", *self._arguments,
            environment=self._environment,
        )  # fmt: skip
        self.http = self.server.http

    def restart(self) -> None:
        assert self.server.stop() == 0
        self.start()

    def save(self, **fields: object):
        return self.http.post(PATH, json={"host": "lab", "username": "me", **fields})

    def list(self) -> list[dict[str, Any]]:
        return self.http.get(PATH).json()["connections"]

    def details(self, key: str = "me@lab:22@me") -> dict[str, Any]:
        return self.http.get(f"{PATH}/{key}/details").json()["connection"]

    def connect(self, secret: str, expected: str = "hunter2", field: str = "password", **where: object):
        target = {"host": "lab", "port": "22", "username": "me", **where}
        return self.http.post(
            "/api/probe/connect", json={"secret": secret, "expected": expected, "field": field, **target}
        )

    def stored(self) -> list[Any]:
        return json.loads(self.file.read_text())["ssh_connections"]


@pytest.fixture(scope="module")
def module_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("connections"))
    yield session
    assert session.server.stop() == 0
    assert "Traceback" not in session.server.log


@pytest.fixture
def session(module_session: Session) -> Session:
    for file in module_session.directory.glob("*.json*") if module_session.directory.exists() else ():
        if not file.name.endswith(".lock"):
            file.unlink()
    return module_session


# ── saving and listing ──────────────────────────────────────────────────────


def test_a_connection_is_listed_without_its_secrets(session: Session) -> None:
    assert session.list() == []
    answer = session.save(
        host=" 192.168.1.100 ",
        username=" user ",
        name="Lab Server",
        port="22",
        password="hunter2",
        remember_password=True,
    )
    key = "user@192.168.1.100:22@user"
    assert answer.json() == {"ok": True, "message": "SSH connection saved successfully", "key": key}
    assert session.list() == [
        {
            "key": key, "host": "192.168.1.100", "port": 22, "username": "user", "name": "Lab Server",
            "auth_method": "password", "remember_password": True, "private_key_path": None, "has_password": True,
            "has_private_key": False,
        }
    ]  # fmt: skip
    (entry,) = session.stored()
    assert entry["key"] == "192.168.1.100:22@user"
    assert set(entry) == {
        "host", "port", "username", "name", "remember_password", "auth_method", "key", "private_key_path",
        "encrypted_password",
    }  # fmt: skip
    assert session.file.stat().st_mode & 0o777 == 0o600
    assert (session.directory / "credentials.key").stat().st_mode & 0o777 == 0o600


def test_the_same_address_replaces_and_moves_to_the_end_and_of_more_than_ten_the_oldest_go(session: Session) -> None:
    for n in range(10):
        session.save(host=f"h{n}")
    session.save(host="h3", name="again", auth_method="agent", private_key_path="~/.ssh/id")
    assert [c["host"] for c in session.list()] == ["h0", "h1", "h2", "h4", "h5", "h6", "h7", "h8", "h9", "h3"]
    last = session.list()[-1]
    assert (last["name"], last["auth_method"], last["private_key_path"]) == ("again", "agent", "~/.ssh/id")
    session.save(host="h3", port=2222)
    assert [c["host"] for c in session.list()] == ["h1", "h2", "h4", "h5", "h6", "h7", "h8", "h9", "h3", "h3"]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"host": ""}, "Missing required field: host"),
        ({"host": "  "}, "Missing required field: host"),
        ({"username": " "}, "Missing required field: username"),
        ({"host": None}, "Invalid value for host: "),
        ({"host": "a b"}, "Invalid value for host: "),
        ({"host": "a/b"}, "Invalid value for host: "),
        ({"host": "a@b"}, "Invalid value for host: "),
        ({"host": "a\tb"}, "Invalid value for host: "),
        ({"host": "a\0b"}, "Invalid value for host: "),
        ({"host": "h" * 254}, "Invalid value for host: "),
        ({"username": "u" * 129}, "Invalid value for username: "),
        ({"username": "a/b"}, "Invalid value for username: "),
        ({"username": "a\nb"}, "Invalid value for username: "),
        ({"port": 0}, "Invalid value for port: "),
        ({"port": 65536}, "Invalid value for port: "),
        ({"port": "x"}, "Invalid value for port: "),
        ({"port": "-1"}, "Invalid value for port: "),
        ({"port": True}, "Invalid value for port: "),
        ({"port": 22.5}, "Invalid value for port: "),
        ({"name": "n" * 129}, "Invalid value for name: "),
        ({"auth_method": "telepathy"}, "Invalid value for auth_method: "),
        ({"remember_password": "true"}, "Invalid value for remember_password: "),
        ({"remember_password": 1}, "Invalid value for remember_password: "),
        ({"password": 5}, "Invalid value for password: "),
        ({"password": "p" * 65537}, "Invalid value for password: "),
        ({"private_key": "ü" * 32769}, "Invalid value for private_key: "),
        ({"passphrase": ["x"]}, "Invalid value for passphrase: "),
        ({"private_key_path": 5}, "Invalid value for private_key_path: "),
    ],
)
def test_what_is_no_connection_is_refused_and_not_stored(
    session: Session, fields: dict[str, object], detail: str
) -> None:
    answer = session.save(**{"password": "s3cret", "remember_password": True, **fields})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail), answer.text
    assert "s3cret" not in answer.text
    assert not session.file.exists()


def test_missing_fields_are_named_and_several_wrong_ones_are_listed(session: Session) -> None:
    assert session.http.post(PATH, json={"username": "u"}).json()["detail"] == "Missing required field: host"
    assert session.http.post(PATH, json={"host": "h"}).json()["detail"] == "Missing required field: username"
    answer = session.save(host="a b", port=0, name="n" * 200).json()
    assert answer["detail"].startswith("Invalid value for host: ")
    assert [error["field"] for error in answer["errors"]] == ["host", "port", "name"]


@pytest.mark.parametrize(
    "key", ["me@lab:22@me", "lab:22@me", quote("me@lab:22@me", safe=""), quote("lab:22@me", safe="")]
)
def test_every_form_of_the_key_addresses_the_entry(session: Session, key: str) -> None:
    assert session.save(name="x").json()["key"] == "me@lab:22@me"
    assert session.http.get(f"{PATH}/{key}/details").json()["connection"]["name"] == "x"
    done = {"ok": True, "message": "SSH connection deleted successfully"}
    assert session.http.delete(f"{PATH}/{key}").json() == done
    assert session.list() == []
    missing = session.http.get(f"{PATH}/{key}/details")
    assert missing.status_code == 404
    assert missing.json()["detail"].startswith("Connection not found: ")
    assert session.http.delete(f"{PATH}/{key}").json() == done


def test_odd_names_are_addressed_too(session: Session) -> None:
    session.save(host="fe80::1", username="ü:@%?#")
    key = session.list()[0]["key"]
    assert session.http.get(f"{PATH}/{quote(key, safe='')}/details").json()["connection"]["username"] == "ü:@%?#"


# ── secrets ─────────────────────────────────────────────────────────────────


def test_secrets_are_stored_encrypted_each_with_its_own_nonce_and_only_if_wanted(session: Session) -> None:
    session.save(host="a", password="same", private_key="same", passphrase="same", remember_password=True)
    session.save(host="b", password="same", remember_password=True)
    session.save(host="c", password="same", remember_password=False)
    first, second, third = session.stored()
    tokens = [first[f"encrypted_{field}"] for field in ("password", "private_key", "passphrase")]
    assert len({*tokens, second["encrypted_password"]}) == 4
    assert not any(key.startswith("encrypted_") for key in third)
    assert "same" not in session.file.read_text()
    assert [(c["has_password"], c["has_private_key"]) for c in session.list()] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_an_absent_secret_is_kept_an_empty_one_removed_and_all_are_forgotten_when_not_remembered(
    session: Session,
) -> None:
    session.save(password="hunter2", private_key="key", passphrase="words", remember_password=True)
    session.save(remember_password=True, password=None, private_key="", name="n")
    details = session.details()
    assert session.connect(details["password"]).json() == {"same": True}
    assert details["private_key"] is None
    assert session.connect(details["passphrase"], "words", "passphrase").json() == {"same": True}
    session.save(remember_password=False)
    assert session.details() == {
        "key": "me@lab:22@me", "host": "lab", "port": 22, "username": "me", "name": "", "auth_method": "password",
        "remember_password": False, "private_key_path": None, "password": None, "private_key": None, "passphrase": None,
    }  # fmt: skip
    session.save(remember_password=True)
    assert session.details()["password"] is None


def test_details_are_references_that_connect_and_save_as_the_web_interface_does(session: Session) -> None:
    session.save(password="hunter2", private_key="-----BEGIN KEY", passphrase="", remember_password=True, name="Lab")
    answer = session.http.get(f"{PATH}/me@lab:22@me/details")
    assert answer.headers["cache-control"] == "no-store"
    details = answer.json()["connection"]
    assert list(details) == [
        "key", "host", "port", "username", "name", "auth_method", "remember_password", "private_key_path", "password",
        "private_key", "passphrase",
    ]  # fmt: skip
    assert re.fullmatch(r"saved:[\w-]{22,}", details["password"])
    assert session.details()["password"] != details["password"]
    assert session.connect(details["password"]).json() == {"same": True}
    assert session.connect(details["private_key"], "-----BEGIN KEY", "private_key").json() == {"same": True}
    before = session.stored()
    assert session.http.post(PATH, json=details).status_code == 200
    assert session.stored() == before
    assert session.connect(details["password"]).json() == {"same": True}
    assert session.connect("plain", "plain").json() == {"same": True}


def test_a_reference_is_good_for_its_connection_and_field_alone(session: Session) -> None:
    for host in ("lab", "evil"):
        session.save(host=host, password=f"of {host}", private_key="k", remember_password=True)
    secret = session.details()["password"]
    for where in ({"host": "evil"}, {"port": "23"}, {"username": "you"}, {"field": "private_key"}):
        answer = session.connect(secret, **where)  # type: ignore[arg-type]  # names of its parameters
        assert (answer.status_code, answer.json()) == (400, FOREIGN)
    answer = session.save(host="evil", password=secret, remember_password=True)
    assert (answer.status_code, answer.json()) == (400, FOREIGN)
    assert session.connect(session.details("me@evil:22@me")["password"], "of evil", host="evil").json() == {
        "same": True
    }
    for unknown in (
        "saved:",
        "saved:q3v0Jx1mT9y2bW8kZr5uLA",
        secret[:-3],
        secret + "x",
        "saved:ü",
        "saved:" + "A" * 5000,
    ):
        answer = session.connect(unknown)
        assert (answer.status_code, answer.json()) == (400, EXPIRED)
        answer = session.save(password=unknown, remember_password=True)
        assert (answer.status_code, answer.json()) == (400, EXPIRED)


def test_a_reference_ends_with_the_secret_the_connection_and_the_server(session: Session) -> None:
    session.save(password="hunter2", remember_password=True)
    first = session.details()["password"]
    session.save(password="another", remember_password=True)
    assert session.connect(first).json() == EXPIRED
    second = session.details()["password"]
    session.http.delete(f"{PATH}/me@lab:22@me")
    assert session.connect(second).json() == EXPIRED
    assert session.save(password=second, remember_password=True).json() == EXPIRED
    session.save(password="hunter2", remember_password=True)
    third = session.details()["password"]
    session.restart()
    answer = session.connect(third)
    assert (answer.status_code, answer.json()) == (400, EXPIRED)
    assert session.connect(session.details()["password"]).json() == {"same": True}


def test_a_lost_key_makes_secrets_absent_and_loses_nothing_else(session: Session) -> None:
    session.save(password="hunter2", remember_password=True, name="kept")
    token = session.stored()[0]["encrypted_password"]
    key = session.directory / "credentials.key"
    lost = key.read_bytes()
    key.unlink()
    assert session.list()[0]["has_password"] is False
    assert session.details()["password"] is None
    session.save(host="new", password="fresh", remember_password=True)
    assert key.read_bytes() != lost
    assert [c["has_password"] for c in session.list()] == [False, True]
    session.save(remember_password=True, name="renamed")  # keeps what it cannot read
    assert session.stored()[-1]["encrypted_password"] == token
    key.write_bytes(lost)
    assert [(c["name"], c["has_password"]) for c in session.list()] == [("", False), ("renamed", True)]
    key.write_bytes(b"damaged")
    session.save(host="third", password="p", remember_password=True)
    assert [c["has_password"] for c in session.list()] == [False, False, True]
    assert [file.read_bytes() for file in session.directory.glob("credentials.key.broken-*")] == [b"damaged"]


# ── what 0.4.0 and others wrote ─────────────────────────────────────────────


def obfuscated(secret: str, key: bytes) -> str:
    return "ENC:" + base64.b64encode(bytes(a ^ b for a, b in zip(secret.encode(), cycle(key), strict=False))).decode()


def write_0_4_0(session: Session, key: bytes = bytes(range(7, 39))) -> None:
    session.directory.mkdir(parents=True, exist_ok=True)
    (session.directory / ".credential_key").write_bytes(key)
    common = {"port": 22, "username": "me", "remember_password": True, "auth_method": "password"}
    entries = [
        {"host": "lab", **common, "name": "Größe", "key": "lab:22@me", "password": obfuscated("hunter2 ü" * 9, key)},
        {"host": "plain", **common, "key": "plain:22@me", "password": "in the open", "private_key": None},
        {"host": "bad", **common, "key": "bad:22@me", "password": "ENC:not base64!", "passphrase": "ENC://///w=="},
    ]
    session.file.write_text(json.dumps({"user_root_dir": "/x", "theme": "dark", "ssh_connections": entries}))


def test_what_0_4_0_stored_can_be_used_and_is_encrypted_by_the_next_save(session: Session) -> None:
    write_0_4_0(session)
    assert [(c["host"], c["has_password"]) for c in session.list()] == [("lab", True), ("plain", True), ("bad", False)]
    assert session.connect(session.details()["password"], "hunter2 ü" * 9).json() == {"same": True}
    secret = session.details("plain:22@me")["password"]
    session.save(host="new")
    content = session.file.read_text()
    assert "ENC:" not in content
    assert "in the open" not in content
    assert json.loads(content)["theme"] == "dark"
    assert [(c["host"], c["has_password"]) for c in session.list()] == [
        ("lab", True), ("plain", True), ("bad", False), ("new", False),
    ]  # fmt: skip
    assert session.connect(secret, "in the open", host="plain").json() == {"same": True}
    assert session.connect(session.details()["password"], "hunter2 ü" * 9).json() == {"same": True}


def test_a_secret_of_0_4_0_is_kept_when_its_connection_is_saved_without_one(session: Session) -> None:
    write_0_4_0(session)
    assert session.http.post(PATH, json=session.details()).status_code == 200
    assert session.connect(session.details()["password"], "hunter2 ü" * 9).json() == {"same": True}
    assert session.list()[-1]["name"] == "Größe"


def test_without_its_key_what_0_4_0_stored_is_absent(session: Session) -> None:
    write_0_4_0(session)
    (session.directory / ".credential_key").unlink()
    assert [c["has_password"] for c in session.list()] == [False, True, False]
    assert reveal("ENC:AAAA", session.directory) is None


def test_odd_entries_are_not_shown_and_stay_in_the_file(session: Session) -> None:
    odd = [
        5,
        None,
        "x",
        [],
        {},
        {"host": "h"},
        {"username": "u"},
        {"host": 5, "username": "u"},
        {"host": "", "username": ""},
    ]
    strange = {
        "host": "s",
        "username": "u",
        "port": "x",
        "name": 5,
        "auth_method": [],
        "encrypted_password": 7,
        "key": 1,
    }
    session.directory.mkdir(parents=True, exist_ok=True)
    session.file.write_text(
        json.dumps({"ssh_connections": [*odd, strange, {"host": "p", "port": "23", "username": "u"}]})
    )
    assert [(c["key"], c["name"], c["auth_method"], c["has_password"]) for c in session.list()] == [
        ("u@s:22@u", "", "password", False), ("u@p:23@u", "", "password", False),
    ]  # fmt: skip
    assert session.save().status_code == 200
    assert session.stored()[: len(odd)] == odd
    assert len(session.list()) == 3
    assert "is not shown" in session.server.log


@pytest.mark.parametrize("content", ["[]", "{", "", '{"ssh_connections": {"a": 1}}', '{"ssh_connections": "x"}'])
def test_a_file_that_is_no_configuration_is_kept_aside(session: Session, content: str) -> None:
    session.directory.mkdir(parents=True, exist_ok=True)
    session.file.write_text(content)
    assert session.list() == []
    assert session.http.get(f"{PATH}/a:22@b/details").status_code == 404
    assert session.http.delete(f"{PATH}/a:22@b").status_code == 200
    assert session.save().status_code == 200
    assert [file.read_text() for file in session.directory.glob("config.json.broken-*")] == [content]
    assert len(session.list()) == 1


# ── who may ask ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 400),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:5173"}, 200),
    ],
)
def test_details_are_refused_to_other_pages(session: Session, headers: dict[str, str], status: int) -> None:
    session.save(password="hunter2", remember_password=True)
    answer = session.http.get(f"{PATH}/me@lab:22@me/details", headers=headers)
    assert answer.status_code == status
    assert ("saved:" in answer.text) == (status == 200)
    assert answer.headers["x-ratelimit-limit"] == "60"


def test_rate_limits_are_those_of_the_contract(session: Session) -> None:
    for method, path, limit in (
        ("GET", PATH, "60"), ("POST", PATH, "20"), ("GET", f"{PATH}/x/details", "60"), ("DELETE", f"{PATH}/x", "20"),
    ):  # fmt: skip
        assert session.http.request(method, path, json={}).headers["x-ratelimit-limit"] == limit


# ── several writers, several workers ────────────────────────────────────────


def test_with_two_workers_a_reference_is_good_in_both_and_ends_with_the_server(tmp_path: Path) -> None:
    session = Session(tmp_path, "--workers", "2")
    try:
        fresh = {"connection": "close"}  # so that either worker may get it
        session.save(password="hunter2", remember_password=True)
        references = [session.http.get(f"{PATH}/me@lab:22@me/details", headers=fresh).json() for _ in range(6)]
        for reference in references:
            for _ in range(4):
                body = {"secret": reference["connection"]["password"], "expected": "hunter2", "field": "password"}
                target = {"host": "lab", "port": "22", "username": "me"}
                answer = session.http.post("/api/probe/connect", json={**body, **target}, headers=fresh)
                assert answer.json() == {"same": True}
        old = references[0]["connection"]["password"]
        session.restart()
        assert session.connect(old).json() == EXPIRED
    finally:
        assert session.server.stop() == 0


def test_the_key_of_references_is_in_no_command_line_and_no_environment(tmp_path: Path) -> None:
    session = Session(tmp_path, "--workers", "2")
    try:
        for process in psutil.Process(session.server.process.pid).children(recursive=True):
            told = " ".join(process.cmdline()) + str(process.environ())
            assert not re.search(r"(?<![\w-])[\w-]{43}=(?![\w-])", told)
    finally:
        assert session.server.stop() == 0


WRITER = """
import sys
from pathlib import Path
from runicorn.config import config_file
from runicorn.plugin import Address, SavedConnection, SavedConnections
from runicorn.user_config import change_json
number = sys.argv[1]
for n in range(5):
    change_json(config_file(), lambda content: content.update({f"{number}-{n}": n}))
connection = SavedConnection(address=Address(f"h{number}", 22, "u"), remember_password=True)
SavedConnections().save(connection, {"password": f"secret-{number}"})
"""


def test_parallel_writers_lose_nothing(session: Session) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(session.base / "config")}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(n)], env=environment) for n in range(8)]
    for n in range(12):
        assert (
            session.http.post(
                "/api/config/user_root_dir", json={"path": str(session.base / f"root{n % 2}")}
            ).status_code
            == 200
        )
    assert [writer.wait(60) for writer in writers] == [0] * 8
    content = json.loads(session.file.read_text())
    assert {key for key in content if "-" in key} == {f"{w}-{n}" for w in range(8) for n in range(5)}
    assert content["user_root_dir"] == str(session.base / "root1")
    assert len(session.list()) == 8
    for n in range(8):
        secret = session.details(f"h{n}:22@u")["password"]
        assert session.connect(secret, f"secret-{n}", host=f"h{n}", username="u").json() == {"same": True}


FOREVER = """
import itertools
from runicorn.config import config_file
from runicorn.user_config import change_json
for n in itertools.count():
    change_json(config_file(), lambda content: content.update(filler="x" * 200_000, n=n))
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file_and_no_lock(session: Session) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(session.base / "config")}
    for after in (1, 3, 5, 7):
        with subprocess.Popen([sys.executable, "-c", FOREVER], env=environment, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(after):
                writer.stdout.readline()
            writer.kill()
        assert json.loads(session.file.read_text())["filler"] == "x" * 200_000
        assert session.save(host=f"h{after}").status_code == 200


def test_the_command_line_and_0_4_0_see_the_same_file(serve: Callable[..., Server], session: Session) -> None:
    session.save(name="x")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(session.base / "config")}
    command = [sys.executable, "-m", "runicorn", "config", "--set-user-root", str(session.base / "cli-root")]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    assert session.list()[0]["name"] == "x"
    assert session.http.get("/api/config").json()["user_root_dir"] == str(session.base / "cli-root")
