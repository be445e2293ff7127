"""The log WebSocket, line by line of the contract, on the real server; details of each rule are tested with the plugin."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.plugins.runs.logs.log_clients import Client
from tests.promises import ENDED_S
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

Serve = Callable[..., Server]
Open = Callable[..., Client]

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("logs") / "root", "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


@pytest.fixture
def run(server: Server) -> Path:
    """The directory of a running run that no other test uses."""
    return new_run(server)


@pytest.fixture
def open_log() -> Iterator[Open]:
    """Open log sockets: `open_log(server, run_id)`."""
    with contextlib.ExitStack() as clients:

        def start(server: Server, run_id: str, **options: object) -> Client:
            url = f"{server.url.replace('http', 'ws')}/api/runs/{run_id}/logs/ws"
            return Client(clients.enter_context(connect(url, close_timeout=1, **options)))  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table

        yield start


def new_run(server: Server) -> Path:
    run_id = f"20260101_000000_{next(_numbers):06x}"
    directory = make_run(server.root, f"p/n/runs/{run_id}", status={"status": "running"})
    wait_until(lambda: server.http.get(f"/api/runs/{run_id}").status_code == 200)
    return directory


def write_lines(run: Path, numbers: range) -> list[str]:
    lines = [f"line {number}" for number in numbers]
    append(run, "".join(f"{line}\n" for line in lines))
    return lines


def append(run: Path, text: str) -> None:
    with open(run / "logs.txt", "a", newline="") as file:
        file.write(text)


class TestMustHold:
    @pytest.mark.parametrize("count", [10_000, 10_001, 25_000])
    def test_the_last_ten_thousand_lines_and_then_only_new_ones(
        self, server: Server, run: Path, open_log: Open, count: int
    ) -> None:
        lines = write_lines(run, range(count))
        client = open_log(server, run.name)
        if count > 10_000:
            assert client.frame() == "[info] Showing last 10000 lines. Full log file: logs.txt"
        assert client.frames(10_000) == lines[-10_000:]
        append(run, "new\n")
        assert client.frame() == "new"

    @pytest.mark.slow(3)
    def test_no_line_is_lost_or_doubled_at_the_seam_while_a_writer_appends(
        self, server: Server, run: Path, open_log: Open
    ) -> None:
        ending = threading.Event()
        written = 0

        def keep_writing() -> None:
            nonlocal written
            with open(run / "logs.txt", "a") as file:
                while not ending.is_set():
                    file.write(f"{written}\n")
                    file.flush()
                    written += 1

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            for _ in range(5):
                client = open_log(server, run.name)
                numbers = [int(frame) for frame in client.frames(3000) if not frame.startswith("[info]")]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
                client.connection.close()
        finally:
            ending.set()
            writer.join()

    @pytest.mark.parametrize(
        "wait_s", [0.0, 1.0, pytest.param(10.0, marks=pytest.mark.slow), pytest.param(60.0, marks=pytest.mark.slow(60))]
    )
    def test_a_file_that_appears_later_is_sent(self, server: Server, run: Path, open_log: Open, wait_s: float) -> None:
        client = open_log(server, run.name)
        assert client.frame() == "[info] No logs available yet. Waiting for logs to be created..."
        if wait_s:
            assert client.is_silent(wait_s)
        append(run, "first\n")
        assert client.frames(2) == ["[info] Logs are now available, streaming...", "first"]

    def test_a_line_in_two_halves_is_one_frame_and_each_progress_update_is_one(
        self, server: Server, run: Path, open_log: Open
    ) -> None:
        append(run, "begin\n")
        client = open_log(server, run.name)
        assert client.frame() == "begin"
        append(run, "first half, ")
        assert client.is_silent(0.3)
        append(run, "second half\n")
        assert client.frame() == "first half, second half"
        for percent in range(0, 101, 20):
            append(run, f"\r{percent:3}%|{'█' * (percent // 10)}")
        append(run, "\n")
        assert [client.frame().strip()[:4].strip("%|█ ") for _ in range(6)] == ["0", "20", "40", "60", "80", "100"]

    def test_truncated_rotated_and_recreated_files_go_on(self, server: Server, run: Path, open_log: Open) -> None:
        path = run / "logs.txt"
        append(run, "a\n" * 10)
        client = open_log(server, run.name)
        client.frames(10)
        path.write_text("truncated\n")
        assert client.frame() == "truncated"
        path.rename(run / "logs.txt.1")
        append(run, "rotated\n")
        assert client.frame() == "rotated"
        path.unlink()
        assert client.is_silent(0.3)
        append(run, "again\n")
        assert client.frame() == "again"

    def test_fifty_clients_that_vanish_leave_no_task_and_no_descriptor(
        self, serve: Serve, tmp_path: Path, open_log: Open
    ) -> None:
        server = serve(tmp_path / "root", "--rate-limit", "off")
        wait_until_live(server)
        run = new_run(server)
        append(run, "one\n")
        first = open_log(server, run.name)
        first.frame()
        first.connection.close()
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        wait_until(lambda: not [fd for fd in descriptors.iterdir() if "logs.txt" in _target(fd)])
        before = len(list(descriptors.iterdir()))
        clients = [open_log(server, run.name) for _ in range(50)]
        for client in clients:
            assert client.frame() == "one"
        for client in clients:
            client.connection.socket.shutdown(socket.SHUT_RDWR)
        # Threads open read models when they first need them; fifty clients that were kept would be more.
        wait_until(lambda: len(list(descriptors.iterdir())) < before + 25, "the descriptors")

    def test_sigterm_closes_quiet_streams_with_1001(self, serve: Serve, tmp_path: Path, open_log: Open) -> None:
        server = serve(tmp_path / "root", "--rate-limit", "off")
        wait_until_live(server)
        run = new_run(server)
        append(run, "one\n")
        clients = [open_log(server, run.name) for _ in range(10)]
        for client in clients:
            client.frame()
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert client.closed() == (1001, "")
        assert server.process.wait(ENDED_S) == 0

    def test_no_frame_contains_a_path_or_the_text_of_an_exception(
        self, server: Server, run: Path, open_log: Open
    ) -> None:
        (run / "logs.txt").mkdir()
        frames = [open_log(server, run.name).frame(), open_log(server, "20260101_000000_999999").frame()]
        assert frames == ["[error] log file cannot be read", "[error] run not found"]

    # "Idle for more than an hour: still open" needs a clock that can be moved:
    # tests/plugins/runs/logs/test_log_stream.py::test_an_idle_stream_stays_open_for_hours


class TestSituations:
    def test_an_unknown_run(self, server: Server, open_log: Open) -> None:
        client = open_log(server, "unknown")
        assert client.frame() == "[error] run not found"
        assert client.closed() == (1000, "")

    @pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}])
    def test_a_foreign_origin(self, server: Server, run: Path, open_log: Open, headers: dict[str, str]) -> None:
        with pytest.raises(Exception, match="403"):
            open_log(server, run.name, additional_headers=headers)

    def test_an_eleventh_socket_of_a_client(self, serve: Serve, tmp_path: Path, open_log: Open) -> None:
        server = serve(tmp_path / "root")
        wait_until_live(server)
        run = new_run(server)
        for _ in range(10):
            open_log(server, run.name).frame()
        client = open_log(server, run.name)
        assert client.frame() == "[error] too many log streams (limit 10)"
        assert client.closed() == (1013, "")

    def test_an_empty_file_is_silent(self, server: Server, run: Path, open_log: Open) -> None:
        append(run, "")
        assert open_log(server, run.name).is_silent(0.5)

    @pytest.mark.parametrize("how", ["soft-deleted", "purged"])
    def test_a_run_that_is_deleted_while_streaming(self, server: Server, run: Path, open_log: Open, how: str) -> None:
        append(run, "one\n")
        client = open_log(server, run.name)
        assert client.frame() == "one"
        if how == "purged":
            shutil.rmtree(run)
        else:
            (run / ".deleted").write_text(json.dumps({"deleted_at": time.time()}))
        assert client.frame() == "[error] run not found"
        assert client.closed() == (1000, "")

    def test_a_plain_request(self, server: Server, run: Path) -> None:
        assert server.http.get(f"/api/runs/{run.name}/logs/ws").status_code == 426

    def test_what_the_client_sends_is_ignored(self, server: Server, run: Path, open_log: Open) -> None:
        append(run, "one\n")
        client = open_log(server, run.name)
        client.connection.send("hello?")
        client.connection.send(b"\x00")
        assert client.frame() == "one"

    def test_an_offset_goes_on_where_a_client_was(self, server: Server, run: Path) -> None:
        append(run, "one\ntwo\n")
        url = f"{server.url.replace('http', 'ws')}/api/runs/{run.name}/logs/ws?offset=4"
        with connect(url) as connection:
            assert Client(connection).frame() == "two"


def test_line_rules(server: Server, run: Path, open_log: Open) -> None:
    """Terminators, white space, invalid UTF-8, NUL, pieces of long lines, an unterminated end."""
    content = b"a\r\nb\rc\n\n  \n\t keep \n\xff\xfed\n\x00e\nf\x0cg\xe2\x80\xa8h\n" + b"x" * (1 << 20) + b"yz\nrest"
    (run / "logs.txt").write_bytes(content)
    client = open_log(server, run.name, max_size=None)
    assert client.frames(7) == ["a", "b", "c", "\t keep ", "d", "\0e", "f\fg\u2028h"]
    assert client.frames(2) == ["x" * (1 << 20), "yz"]
    assert client.frame() == "rest"


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""
