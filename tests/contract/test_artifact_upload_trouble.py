"""Uploads to a server that is busy, slow or behind: nothing that was sent is thrown away, nothing becomes two versions."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from runicorn.artifacts import Artifact, upload_artifact
from runicorn.files import file_lock
from runicorn_artifacts.uploads import connection
from tests.artifact_world import World, name, world
from tests.contract.test_artifact_upload import declare, digest, put

__all__ = ["name", "world"]

Answer = tuple[int, dict[str, Any]]


class Passing:
    """A proxy before a server: it notes what is asked, and may give other answers."""

    def __init__(self, url: str) -> None:
        self.asked: list[str] = []
        self.before: dict[str, list[Answer]] = {}
        """By the end of a path: answers that are given instead of asking the server."""
        self.behind: dict[str, list[Answer]] = {}
        """By the end of a path: answers that are given after the server was asked."""
        passing = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                end = self.path.partition("?")[0].split("/")[-1]
                kind = "contents" if "/contents/" in self.path else end
                passing.asked.append(f"{self.command} {kind}")
                instead = passing.before.get(kind)
                if not instead:
                    found = httpx.request(
                        self.command, f"{url}{self.path}", content=body, timeout=60,
                        headers={"content-type": self.headers["content-type"]},
                    )  # fmt: skip
                    instead = passing.behind.get(kind) or [(found.status_code, found.json())]
                status, answer = instead.pop(0)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - as the standard library calls them

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def passing(world: World) -> Iterator[Passing]:
    proxy = Passing(world.server.url)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_WAITS_S", (0.01,) * 6)


def artifact(world: World, name: str, count: int = 2) -> Artifact:
    folder = world.root.parent / f"sent-{name}"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(os.urandom(1000))
    return Artifact(name).add_dir(folder)


def versions(world: World, name: str) -> list[int]:
    return [item["version"] for item in world.get(f"/{name}/versions")]


BUSY = (503, {"detail": "Artifact store is busy"})
BEHIND = (503, {"detail": "The change is recorded, but the read model has not caught up yet. Try again in a moment."})
COMMITTING = (503, {"detail": "This upload is still being committed.", "committing": True})
LIMITED = (429, {"detail": "Rate limit exceeded"})


class TestClient:
    @pytest.mark.parametrize("when", ["before", "behind"])
    @pytest.mark.parametrize("answers", [[BUSY], [BEHIND, LIMITED], [COMMITTING] * 10])
    def test_a_commit_that_cannot_be_answered_now_is_asked_for_again(
        self, world: World, name: str, passing: Passing, when: str, answers: list[Answer]
    ) -> None:
        getattr(passing, when)["commit"] = list(answers)
        assert upload_artifact(passing.url, artifact(world, name), aliases=["best"]) == 1
        assert versions(world, name) == [1]
        assert world.get(f"/{name}/v1")["aliases"] == ["best", "latest"]
        assert passing.asked.count("PUT contents") == 2
        assert passing.asked.count("POST commit") == len(answers) + 1
        assert not [asked for asked in passing.asked if asked.startswith("DELETE")]

    def test_a_content_that_cannot_be_received_now_is_sent_again(
        self, world: World, name: str, passing: Passing
    ) -> None:
        in_receipt = (409, {"detail": "This content is being received already"})
        passing.before["contents"] = [BUSY, in_receipt, LIMITED]
        passing.behind["contents"] = [BUSY]
        assert upload_artifact(passing.url, artifact(world, name)) == 1
        assert not [asked for asked in passing.asked if asked.startswith("DELETE")]

    def test_a_server_that_is_busy_for_too_long_keeps_what_was_sent(
        self, world: World, name: str, passing: Passing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "_PATIENCE_S", 0.1)
        passing.before["commit"] = [BUSY] * 10_000
        with pytest.raises(Exception, match=r"^Artifact store is busy$"):
            upload_artifact(passing.url, artifact(world, name))
        assert not [asked for asked in passing.asked if asked.startswith("DELETE")]
        assert passing.asked.count("POST commit") > 1

    @pytest.mark.parametrize("status", [400, 404, 409, 413, 507])
    def test_what_cannot_become_a_version_is_not_left_on_the_server(
        self, world: World, name: str, passing: Passing, status: int
    ) -> None:
        (world.root / "artifacts/.tmp").mkdir(exist_ok=True)
        before = set((world.root / "artifacts/.tmp").iterdir())
        passing.before["commit"] = [(status, {"detail": "no"})]
        with pytest.raises(Exception, match=r"^no$"):
            upload_artifact(passing.url, artifact(world, name))
        assert set((world.root / "artifacts/.tmp").iterdir()) == before
        assert world.listed(name) is None

    def test_metadata_is_what_the_sdk_would_save(self, world: World, name: str) -> None:
        import numpy as np

        sent = artifact(world, name)
        sent.add_metadata({"acc": np.float64(0.5), "big": 10**30, "none": float("nan"), "words": {None: np.str_("x")}})
        assert upload_artifact(world.server.url, sent) == 1
        assert world.storage.save_artifact(sent, "", *sent.staged) == 2
        one, two = (world.get(f"/{name}/v{number}")["metadata"] for number in (1, 2))
        assert one == two == {"acc": 0.5, "big": 10**30, "none": None, "words": {"null": "x"}}
        deep: Any = 1
        for _ in range(250):
            deep = [deep]
        with pytest.raises(TypeError, match="'deep'"):
            upload_artifact(world.server.url, sent.add_metadata({"deep": deep}))


def test_patience_begins_with_the_first_refusal_and_again_while_the_server_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 0.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: clock)
    monkeypatch.setattr(connection.time, "sleep", lambda _: None)
    busy, committing = (
        connection.Refused(*answer, None) for answer in ((503, "", {}), (503, "", {"committing": True}))
    )
    patience = connection.Patience()
    clock = 5000.0  # so long it took to be answered
    assert [patience.is_left_without_answer() for _ in range(7)] == [True] * 6 + [False]
    assert patience.is_left_after(busy)
    clock += 599
    assert patience.is_left_after(busy)
    for _ in range(50):
        clock += 590
        assert patience.is_left_after(committing)
        assert patience.is_left_without_answer()
    clock += 601
    assert not patience.is_left_after(busy)
    assert not connection.Patience().is_left_after(connection.Refused(409, "", {}, None))


class TestServer:
    def test_while_an_upload_is_committed_others_are_told_so_and_cannot_take_it_away(
        self, world: World, name: str
    ) -> None:
        content = os.urandom(100)
        state = declare(world, name, {"a": content})
        path = f"/{name}/uploads/{state['upload_id']}"
        put(world, name, state, content)
        told = {"detail": "This upload is still being committed. Ask again in a moment.", "committing": True}
        with file_lock(world.root / "artifacts/.tmp" / state["upload_id"] / ".lock"):
            for method, end in (("POST", "/commit"), ("DELETE", "")):
                answer = world.http.request(method, f"/api/artifacts{path}{end}")
                assert (answer.status_code, answer.json()) == (503, told)
        assert world.send("POST", f"{path}/commit")["version"] == 1
        assert world.send("DELETE", path) == {"success": True}
        assert versions(world, name) == [1]

    def test_a_version_that_is_removed_for_good_can_be_committed_again_once_it_was_sent_again(
        self, world: World, name: str
    ) -> None:
        content = os.urandom(100)
        state = declare(world, name, {"a": content})
        path = f"/{name}/uploads/{state['upload_id']}"
        put(world, name, state, content)
        world.send("POST", f"{path}/commit")
        assert world.get(path)["version"] == 1
        world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})
        assert world.get(path) == {**state, "version": None}
        assert world.refused("POST", f"{path}/commit")[0] == 409
        put(world, name, state, content)
        assert world.send("POST", f"{path}/commit")["version"] == 2

    @pytest.mark.parametrize(
        "path", ["a" * 300, "d/" + "é" * 128 + "/f", "a/" * 40_000 + "b", "x" * 1_000_000], ids=lambda path: len(path)
    )
    def test_a_path_that_no_disk_can_hold_is_refused_before_anything_is_sent(
        self, world: World, name: str, path: str
    ) -> None:
        (world.root / "artifacts/.tmp").mkdir(exist_ok=True)
        before = set((world.root / "artifacts/.tmp").iterdir())
        files = [{"path": path, "size": 1, "digest": digest(b"1")}]
        status, text = world.refused("POST", f"/{name}/uploads", json={"files": files})
        assert (status, text) == (400, f"Invalid artifact path (too long): {path}"[:128])
        assert set((world.root / "artifacts/.tmp").iterdir()) == before

    def test_a_path_that_is_too_long_where_the_root_is_is_refused_with_the_commit(
        self, world: World, name: str
    ) -> None:
        path = "/".join(["p" * 255] * 16)  # 4095 bytes
        state = declare(world, name, {path: b"1"})
        there = f"/{name}/uploads/{state['upload_id']}"
        put(world, name, state, b"1")
        text = "Invalid artifact path: too long for the disk of the server"
        assert world.refused("POST", f"{there}/commit") == (400, text)
        world.send("DELETE", there)

    @pytest.mark.slow(2)
    def test_others_are_answered_while_a_long_declaration_is_checked(self, world: World, name: str) -> None:
        one = digest(b"1")
        deep = "/".join("abcdefgh"[: 1 + number % 8] for number in range(300))
        files = [{"path": f"{number}/{deep}", "size": 1, "digest": one} for number in range(30_000)]
        body = json.dumps({"files": [*files, {"path": f"7/{deep}/x", "size": 1, "digest": one}]}).encode()
        done = threading.Event()
        longest = 0.0

        def declare() -> tuple[float, httpx.Response]:
            begin = time.monotonic()
            try:
                headers = {"content-type": "application/json"}
                answer = httpx.post(
                    f"{world.server.url}/api/artifacts/{name}/uploads", content=body, headers=headers, timeout=120
                )
                return time.monotonic() - begin, answer
            finally:
                done.set()

        with ThreadPoolExecutor(1) as threads:
            declared = threads.submit(declare)
            while not done.is_set():
                begin = time.monotonic()
                assert world.http.get("/api/health").status_code == 200
                longest = max(longest, time.monotonic() - begin)
            seconds, answer = declared.result()
        assert (answer.status_code, answer.json()["detail"][:30]) == (400, "Invalid artifact path: 7/a/ab/")
        assert longest < seconds / 2, f"one answer took {longest:.2f} s of the {seconds:.2f} s"
