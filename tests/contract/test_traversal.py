"""Paths that try to lead out of the store, in every place of every route: no file of others is read or changed."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recorded import wait_until_live
from tests.serving import Server
from tests.stores import make_run, metrics_event

HOSTILE = ("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "%00", "..%5c..%5coutside")
SECRET = b"root:x:0:0: of another"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a root in it, and what is not to be read or changed beside it."""
    directory = tmp_path_factory.mktemp("traversal")
    (directory / "outside").mkdir()
    for name in ("outside/passwd", "passwd", "meta.json"):
        (directory / name).write_bytes(SECRET)
    make_run(directory / "root", "p/n/runs/20260101_000000_aaaaaa", events=metrics_event(loss=0.5), meta={})
    return directory


@pytest.fixture(scope="module")
def server(outside: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    elsewhere = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(elsewhere), "XDG_CONFIG_HOME": str(elsewhere / "config")}
    with Server(outside / "root", "--rate-limit", "off", environment=environment) as server:
        wait_until_live(server)
        yield server


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """All that is not in the root."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
        if directory / "root" not in path.parents
    }


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_parameter_of_a_path_leads_out_of_the_root(server: Server, outside: Path, hostile: str) -> None:
    before = snapshot(outside)
    asked = 0
    for template, item in server.http.get("/openapi.json").json()["paths"].items():
        for method in item if "{" in template else ():
            for path in dict.fromkeys(filled(template, hostile)):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                try:  # a library for browsers would tidy up the path before it is sent
                    connection.request(method.upper(), path, b"{}", {"content-type": "application/json"})
                    answer = connection.getresponse()
                    body = b"" if answer.headers.get_content_type() == "text/event-stream" else answer.read()
                finally:
                    connection.close()
                asked += 1
                assert answer.status < 500, f"{method} {path}: {answer.status} {body!r}"
                assert b"root:" not in body, f"{method} {path}"
    assert asked > 50
    assert snapshot(outside) == before
    assert server.http.get("/api/runs/20260101_000000_aaaaaa").status_code == 200


def filled(template: str, hostile: str) -> Iterator[str]:
    """The template with the hostile text in all places, and in the last one alone."""
    yield re.sub(r"\{[^}]*\}", hostile, template)
    *others, last = re.findall(r"\{[^}]*\}", template)
    for other in others:
        template = template.replace(other, "20260101_000000_aaaaaa" if "run" in other else "v1", 1)
    yield template.replace(last, hostile, 1)
