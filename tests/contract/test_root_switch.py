"""What is on its way while the storage root is switched: live streams, and uploads that take their time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.archives import tar_of, tree
from tests.live_clients import Listen, listen
from tests.serving import Server, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["listen"]

OLD, NEW = "20260101_000000_aaaaaa", "20260101_000001_bbbbbb"
Start = Callable[[int], Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with so many workers on a root with one run; a second root has another run."""
    make_run(tmp_path / "old", f"p/n/runs/{OLD}", meta={"created_at": 1.0}, status={"status": "finished"})
    make_run(tmp_path / "new", f"p/n/runs/{NEW}", meta={"created_at": 1.0}, status={"status": "running"})
    servers: list[Server] = []

    def run(workers: int) -> Server:
        environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path / "home")}
        arguments = ("--rate-limit", "off", "--workers", str(workers))
        server = Server(tmp_path / "old", *arguments, environment=environment)
        servers.append(server)
        wait_until(lambda: listed(server) == {OLD}, "the first root")
        return server

    yield run
    for server in servers:
        assert server.stop() == 0
        assert "Traceback" not in server.log


def listed(server: Server) -> set[str]:
    return {run["id"] for run in server.http.get("/api/runs").json()}


def switch(server: Server, root: Path) -> None:
    answer = server.http.post("/api/config/user_root_dir", json={"path": str(root)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("workers", [1, 2])
def test_live_streams_end_and_go_on_in_the_new_root(start: Start, listen: Listen, tmp_path: Path, workers: int) -> None:
    server = start(workers)
    clients = [listen(server) for _ in range(4)]  # on whichever worker
    before = [client.next() for client in clients]
    switch(server, tmp_path / "new")
    assert {client.wait_for_end() for client in clients} <= {0, 1001}

    wait_until(lambda: listed(server) == {NEW}, "the new root")
    # A position in the log of the old root means nothing in the new one: the client is told to read the state again.
    again = listen(server, f"since={before[0]['id']}")
    assert again.next()["type"] == "reset"
    with (tmp_path / "new/p/n/runs" / NEW / "events.jsonl").open("a") as events:
        events.write(metrics_event(2.0, global_step=2, extra=1.0))
    heard = again.until(lambda message: message["type"] == "metrics")
    assert {message["run_id"] for message in heard if "run_id" in message} == {NEW}


RUN = "p/n/runs/20260101_000002_cccccc"
ARCHIVE = tar_of({f"{RUN}/meta.json": b'{"created_at": 2.0}', f"{RUN}/status.json": b'{"status": "finished"}'})
UPLOADS = {
    "archive": ("/api/import/archive", "a.tar.gz", ARCHIVE, RUN),
    "artifact": ("/api/artifacts/net/versions?type=model", "w.bin", b"w" * 1000, "artifacts/model/net/v1"),
}
"""Where to, the file, and what it becomes below the root."""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize(
    "is_late", [pytest.param(False, id="in time"), pytest.param(True, id="beyond the grace", marks=pytest.mark.slow)]
)
def test_an_upload_that_began_before_a_switch_lands_in_the_old_root_or_nowhere(
    start: Start, tmp_path: Path, workers: int, upload: str, is_late: bool
) -> None:
    server = start(workers)
    path, filename, content, made = UPLOADS[upload]
    part = f'--x\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    body = part.encode() + content + b"\r\n--x--\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\nconnection: close\r\n"
        head += f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:200])
        wait_until(lambda: staged(tmp_path / "old"), "the upload to begin")
        switch(server, tmp_path / "new")
        new = tree(tmp_path / "new")
        if is_late:  # the old store is closed meanwhile
            wait_until(lambda: not projects(server, tmp_path / "old"), "the end of the old root's projector")
        connection.sendall(body[200:])
        with connection.makefile("rb") as answer:
            received = answer.read()
    status = int(received.split(b" ", 2)[1])
    assert status in (200, 503), received
    assert (tmp_path / "old" / made).exists() == (status == 200)
    assert tree(tmp_path / "new") == new
    assert not staged(tmp_path / "old")
    assert listed(server) == {NEW}


def staged(root: Path) -> list[Path]:
    """Directories of uploads: of archives, and of artifacts."""
    return [
        path for place in (".runicorn/staging", "artifacts/.tmp") for path in (root / place).glob("*") if path.is_dir()
    ]


def projects(server: Server, root: Path) -> bool:
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if str(root) in process.cmdline():
                return True
        except psutil.Error:  # it has just ended
            continue
    return False
