"""A secret that was sent to the server is found nowhere again: no answer, log line, file or document shows it."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving import Server, serve

__all__ = ["serve"]

CONNECTIONS = "/api/config/ssh_connections"
SECRETS = {
    "password": "hunter2-q8ZbV",
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END",
    "passphrase": "correct horse ü battery",
}
OLD = "stored-by-0.4.0-X9f"
NEEDLES = {
    form
    for secret in (*SECRETS.values(), OLD)
    for form in (
        secret,
        secret.partition("\n")[2].partition("\n")[0] or secret,
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    )
}


class Recorder(httpx.Client):
    """Keeps all that the server says."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        super().__init__(base_url=url, timeout=30, event_hooks={"response": [self._record]})

    def _record(self, response: httpx.Response) -> None:
        response.read()
        self.said.append(f"{response.url.path} {response.headers} {response.text}")


@pytest.fixture(params=[1, 2])
def session(
    request: pytest.FixtureRequest, serve: Callable[..., Server], tmp_path: Path
) -> Iterator[tuple[Server, Recorder]]:
    config = tmp_path / "config" / "runicorn"
    config.mkdir(parents=True)
    key = os.urandom(32)
    (config / ".credential_key").write_bytes(key)
    hidden = bytes(a ^ b for a, b in zip(OLD.encode(), cycle(key), strict=False))
    old = {"host": "old", "username": "u", "password": "ENC:" + base64.b64encode(hidden).decode()}
    plain = {"host": "plain", "username": "u", "password": OLD, "remember_password": True}
    (config / "config.json").write_text(json.dumps({"ssh_connections": [old, plain]}))
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path / "home")}
    arguments = ("--rate-limit", "off", "--log-level", "debug", "--workers", str(request.param))
    server = serve(tmp_path / "root", *arguments, environment=environment)
    with Recorder(server.url) as client:
        yield server, client


def test_a_secret_is_found_nowhere(session: tuple[Server, Recorder], tmp_path: Path) -> None:
    server, http = session
    where = {"host": "127.0.0.1", "port": 1, "username": "me", "remember_password": True}
    assert http.get(CONNECTIONS).status_code == 200
    assert http.get(f"{CONNECTIONS}/u@old:22@u/details").status_code == 200
    key = http.post(CONNECTIONS, json={**where, **SECRETS}).json()["key"]
    details = http.get(f"{CONNECTIONS}/{key}/details").json()["connection"]
    assert all(details[field].startswith("saved:") for field in SECRETS)
    assert http.post(CONNECTIONS, json=details).status_code == 200
    assert http.post(CONNECTIONS, json={**where, **SECRETS, "port": 0}).status_code == 400
    assert http.post(CONNECTIONS, json={**where, **SECRETS, "name": 5}).status_code == 400
    assert http.post(CONNECTIONS, json={**where, "password": [SECRETS["password"]]}).status_code == 400
    assert http.post(CONNECTIONS, json={**where, "auth_method": SECRETS["password"]}).status_code == 400
    assert http.post(CONNECTIONS, json={**where, "password": SECRETS["password"] * 9000}).status_code == 400
    assert http.post(CONNECTIONS, content=json.dumps(SECRETS)[:-1]).status_code == 400
    assert http.get(CONNECTIONS).status_code == 200

    document = http.get("/openapi.json").json()
    for path, methods in document["paths"].items():  # whoever takes a body, asked or not
        for method in sorted(set(methods) & {"post", "put", "patch", "delete"}):
            body = {**where, **SECRETS, "pkey": SECRETS["private_key"], "token": SECRETS["password"], "secret": OLD}
            route = re.sub(r"\{[^}]*\}", "20260101_000000_aaaaaa", path)
            answer = http.request(method, route, json=body)
            assert answer.status_code != 500, f"{method} {route}: {answer.text}"
            http.request(method, route, params=body, json={})
            http.request(
                method, route, json={**body, "host": [SECRETS["password"]], "run_ids": SECRETS, "path": SECRETS}
            )
    for page in ("/api/health", "/api/runs", "/api/v2/experiments", "/api/nope", CONNECTIONS):
        http.get(page, params=SECRETS)
    for page in ("/api/health", "/api/config", "/docs", "/redoc", "/openapi.json", f"{CONNECTIONS}/{key}/details"):
        http.get(page)
    assert server.stop() == 0

    written = {
        str(path): path.read_bytes().decode("utf-8", "replace")
        for directory in (tmp_path / "config", tmp_path / "root", tmp_path / "home")
        for path in directory.rglob("*")
        if path.is_file()
    }
    assert any(path.endswith("config.json") for path in written)
    assert "ENC:" not in written[str(tmp_path / "config" / "runicorn" / "config.json")]
    for needle in NEEDLES:
        for text in http.said:
            assert needle not in text, f"in an answer: {text[:300]}"
        assert needle not in server.log
        for path, text in written.items():
            assert needle not in text, path


def test_the_documentation_has_no_example_of_a_secret(serve: Callable[..., Server]) -> None:
    document = serve(None).http.get("/openapi.json").text
    assert "saved:…" in document  # it does say what references are
    assert not re.search(r"gAAAA|BEGIN [A-Z ]*PRIVATE KEY|ENC:", document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        *("host", "port", "username", "name", "auth_method", "remember_password", "private_key_path", "path"),
        *("password", "private_key", "passphrase", "table", "size", "widths", "window_width", "window_height"),
    ]
)
PATHS = st.sampled_from([CONNECTIONS, "/api/config/user_root_dir", "/api/config/column-widths"])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("fuzz")
    environment = {"XDG_CONFIG_HOME": str(base / "config"), "HOME": str(base / "home")}
    server = Server(base / "root", "--rate-limit", "off", environment=environment)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.slow(2)
@settings(max_examples=150)
@given(path=PATHS, body=JSON | st.dictionaries(FIELDS, JSON, max_size=8))
def test_any_body_is_answered_with_success_or_a_text(fuzzed: Server, path: str, body: object) -> None:
    if isinstance(body, dict) and str(body.get("path", "")).strip().startswith(("/", "~", "$")):
        body["path"] = "relative"  # nothing outside of the test's directory is made
    answer = fuzzed.http.post(path, json=body)
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert isinstance(answer.json()["detail"], str)


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=20))
def test_any_key_is_answered(fuzzed: Server, key: str) -> None:
    entry = f"{CONNECTIONS}/{quote(key, safe='')}"
    for method, path in (("GET", f"{entry}/details"), ("DELETE", entry)):
        answer = fuzzed.http.request(method, path)
        assert answer.status_code in (200, 404, 405)
