"""Live logs over a real WebSocket: every situation that clients rely on."""

from __future__ import annotations

import os
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from runicorn_runs.logs.stream import AVAILABLE, LEFT_OUT, WAITING
from tests.plugins.runs.logs.log_clients import DEADLINE_S, Client, LogServer, eventually


def append(log: Path, data: str | bytes) -> None:
    with log.open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def numbered(start: int, end: int) -> list[str]:
    return [f"12:34:56 | step {number}" for number in range(start, end)]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# What a client gets when it connects


@pytest.mark.parametrize("run_id", ["unknown", "20240101_000000_abcdef", "..", "%20", "%0a"])
def test_an_unknown_run_is_an_error_frame(server: LogServer, run_id: str) -> None:
    client = server.connect(run_id)
    assert client.frame() == "[error] run not found"
    assert client.closed() == (1000, "")


def test_a_deleted_run_is_an_error_frame(server: LogServer) -> None:
    server.log().with_name(".deleted").touch()
    client = server.connect()
    assert client.frame() == "[error] run not found"
    assert client.closed() == (1000, "")


@pytest.mark.parametrize("count", [1, 9_999, 10_000])
def test_a_log_of_up_to_ten_thousand_lines_is_sent_whole(server: LogServer, count: int) -> None:
    server.log().write_text(text(numbered(0, count)))
    client = server.connect()
    assert client.frames(count) == numbered(0, count)
    append(server.log(), "next\n")
    assert client.frame() == "next"


@pytest.mark.parametrize("count", [10_001, 25_000])
def test_of_a_longer_log_the_last_ten_thousand_lines_are_sent(server: LogServer, count: int) -> None:
    server.log().write_text(text(numbered(0, count)))
    client = server.connect()
    assert client.frame() == "[info] Showing last 10000 lines. Full log file: logs.txt"
    assert client.frames(10_000) == numbered(count - 10_000, count)
    append(server.log(), "next\n")
    assert client.frame() == "next"


@pytest.mark.parametrize("already", [0, 9_000, 30_000])
def test_no_line_is_lost_or_sent_twice_while_a_writer_appends(server: LogServer, already: int) -> None:
    log = server.log()
    log.write_text(text(numbered(0, already)))
    total, done = already + 20_000, threading.Event()

    def write() -> None:
        with log.open("a") as file:
            for number in range(already, total):
                file.write(f"12:34:56 | step {number}\n")
                if number % 7 == 0:
                    file.flush()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        first = client.frame()
        if first == LEFT_OUT:
            first = client.frame()
        start = int(first.rpartition(" ")[2])
        assert client.frames(total - start - 1) == numbered(start + 1, total)
        assert client.is_silent(0.1)
    writer.join()
    assert done.is_set()


@pytest.mark.parametrize("wait_s", [0.0, 1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_a_missing_log_is_waited_for(server: LogServer, wait_s: float) -> None:
    log = server.log()
    client = server.connect()
    assert client.frame() == "[info] No logs available yet. Waiting for logs to be created..."
    if wait_s:
        assert client.is_silent(wait_s)
    log.write_text("one\ntwo\n")
    assert client.frame() == "[info] Logs are now available, streaming..."
    assert client.frames(2) == ["one", "two"]


def test_a_log_that_appears_is_sent_from_its_start(server: LogServer) -> None:
    log = server.log()
    client = server.connect()
    assert client.frame() == WAITING
    log.with_suffix(".new").write_text(text(numbered(0, 12_000)))
    log.with_suffix(".new").rename(log)
    assert client.frame() == AVAILABLE
    assert client.frames(12_000) == numbered(0, 12_000)


def test_an_empty_log_is_silent(server: LogServer) -> None:
    server.log().touch()
    client = server.connect()
    assert client.is_silent(0.5)
    append(server.log(), "one\n")
    assert client.frame() == "one"


@pytest.mark.parametrize(
    ("offset", "expected"), [("4", "two"), ("%2B4", "two"), ("0", "one"), ("99", "one"), ("", "one")]
)
def test_an_offset_says_where_to_start(server: LogServer, offset: str, expected: str) -> None:
    server.log().write_text("one\ntwo\n")
    assert server.connect(query=f"?offset={offset}").frame() == expected


def test_of_a_repeated_offset_the_last_counts(server: LogServer) -> None:
    server.log().write_text("one\ntwo\n")
    assert server.connect(query="?offset=0&offset=4").frame() == "two"


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", "%D9%A3", "9" * 50])
def test_an_offset_that_is_no_number_of_bytes_is_refused(server: LogServer, offset: str) -> None:
    server.log().write_text("one\n")
    client = server.connect(query=f"?offset={offset}")
    assert client.frame() == "[error] Invalid value for offset: not a number of bytes"
    assert client.closed() == (1000, "")


def test_a_plain_request_is_told_to_upgrade(server: LogServer) -> None:
    server.log().write_text("one\n")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{server.address}/api/runs/run/logs/ws", timeout=DEADLINE_S)
    with refused.value:
        assert (refused.value.code, refused.value.headers["Upgrade"]) == (426, "websocket")


# While it is connected


def test_what_the_client_sends_is_ignored(server: LogServer) -> None:
    log = server.log()
    log.touch()
    client = server.connect()
    for message in ("hello", b"\xff\xfe", "", '{"type": "websocket.disconnect"}', "x" * 100_000):
        client.connection.send(message)
    append(log, "one\n")
    assert client.frame() == "one"


def test_progress_bars_are_one_frame_per_update(server: LogServer) -> None:
    log = server.log()
    log.touch()
    client = server.connect()
    for percent in range(0, 101, 25):
        append(log, f"\r{percent:3}%|{'#' * (percent // 25)}")
    append(log, "\r\n")
    assert client.frames(5) == ["  0%|", " 25%|#", " 50%|##", " 75%|###", "100%|####"]


def test_a_line_written_in_two_halves_is_one_frame(server: LogServer) -> None:
    log = server.log()
    log.touch()
    client = server.connect()
    append(log, "損失 0.".encode() + "損".encode()[:2])
    assert client.is_silent(0.3)
    append(log, "損".encode()[2:] + b"1\r")
    assert client.frame() == "損失 0.損1"
    append(log, "\nnext\n")
    assert client.frame() == "next"


def test_an_unterminated_last_line_is_sent_when_it_rests_or_the_run_ends(server: LogServer) -> None:
    log = server.log()
    log.write_text("one\nunfinished")
    client = server.connect()
    assert client.frames(2) == ["one", "unfinished"]
    log.with_name(".ended").touch()
    append(log, " business")
    assert client.frame() == " business"


def test_any_bytes_may_occur(server: LogServer) -> None:
    server.log().write_bytes(bytes(range(256)) + b"\n" + os.urandom(100_000) + b"\nend\n")
    client = server.connect()
    frame = client.frame()
    assert frame == bytes(range(10)).decode()
    while frame != "end":
        frame = client.frame()


def test_a_long_line_arrives_in_pieces(server: LogServer) -> None:
    log = server.log()
    log.write_text("x" * (5 << 19) + "\nend\n")
    client = server.connect()
    assert [len(frame) for frame in client.frames(4)] == [1 << 20, 1 << 20, 1 << 19, 3]


def test_truncated_rotated_and_recreated_logs_go_on(server: LogServer) -> None:
    log = server.log()
    log.write_text(text(numbered(0, 10)))
    client = server.connect()
    assert client.frames(10) == numbered(0, 10)
    log.write_text("truncated\n")
    assert client.frame() == "truncated"
    append(log, "rest\n")
    log.rename(log.with_name("logs.txt.1"))
    log.write_text("rotated\n")
    assert client.frames(2) == ["rest", "rotated"]
    log.unlink()
    assert client.is_silent(0.3)
    log.write_text("recreated\n")
    assert client.frame() == "recreated"


@pytest.mark.parametrize("connected", [False, True])
def test_a_log_that_cannot_be_read_is_an_error_frame(server: LogServer, connected: bool) -> None:
    log = server.log()
    if connected:
        client = server.connect()
        assert client.frame() == WAITING
        log.mkdir()
    else:
        log.mkdir()
        client = server.connect()
    assert client.frame() == "[error] log file cannot be read"
    assert client.closed() == (1000, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_without_permission_is_an_error_frame(server: LogServer) -> None:
    server.log().touch(mode=0)
    client = server.connect()
    assert client.frame() == "[error] log file cannot be read"
    assert client.closed() == (1000, "")


def test_a_link_to_itself_is_an_error_frame(server: LogServer) -> None:
    server.log().symlink_to("logs.txt")
    client = server.connect()
    assert client.frame() == "[error] log file cannot be read"
    assert client.closed() == (1000, "")


@pytest.mark.parametrize("purged", [False, True])
def test_a_run_that_is_deleted_ends_its_streams(server: LogServer, purged: bool) -> None:
    log, other = server.log(), server.log("other")
    log.write_text("one\n")
    other.write_text("other\n")
    clients = [server.connect() for _ in range(3)]
    bystander = server.connect("other")
    for client in clients:
        assert client.frame() == "one"
    if purged:
        log.unlink()
        log.parent.rmdir()
    else:
        log.with_name(".deleted").touch()
    for client in clients:
        assert client.frame() == "[error] run not found"
        assert client.closed() == (1000, "")
    append(other, "still here\n")
    assert bystander.frames(2) == ["other", "still here"]


def test_a_bug_closes_the_stream_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    server = LogServer(tmp_path / "root")
    assert server.connect("bug").closed() == (1011, "")
    assert "ZeroDivisionError: the text of a bug" in server.stop()


# Limits and load


def test_an_eleventh_stream_of_a_client_is_refused(limited_server: LogServer) -> None:
    server = limited_server
    server.log().write_text("one\n")
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        assert client.frame() == "one"
    refused = server.connect()
    assert refused.frame() == "[error] too many log streams (limit 10)"
    assert refused.closed() == (1013, "")
    clients.pop().connection.close()
    assert eventually(lambda: server.connect().frame() == "one")


def test_without_a_limit_there_may_be_more(server: LogServer) -> None:
    server.log().write_text("one\n")
    assert [server.connect().frame() for _ in range(12)] == ["one"] * 12


@pytest.mark.parametrize("polite", [True, False], ids=["closing", "vanishing"])
def test_fifty_clients_that_leave_leave_nothing(own_server: LogServer, polite: bool) -> None:
    server = own_server
    logs = [server.log(f"run{number}") for number in range(10)]
    for log in logs[:9]:  # the last one waits for its file
        log.write_text("one\n")
    server.connect("run0").connection.close()
    assert eventually(lambda: server.debug()["logs"] == [])
    assert eventually(lambda: server.debug()["tasks"] == [])
    before = server.debug()
    clients = [server.connect(f"run{number % 10}") for number in range(50)]
    for client in clients:
        client.frame()
    during = server.debug()
    assert len(during["logs"]) == 9  # one for each file, not for each client
    assert during["threads"] < before["threads"] + 10
    for client in clients:
        if polite:
            client.connection.close()
        else:
            client.connection.socket.shutdown(socket.SHUT_RDWR)
    assert eventually(lambda: server.debug()["logs"] == [], deadline_s=5)
    assert eventually(lambda: server.debug()["tasks"] == [], deadline_s=5)
    assert eventually(lambda: server.debug()["task_count"] <= before["task_count"], deadline_s=5)
    assert eventually(lambda: server.debug()["sockets"] <= before["sockets"], deadline_s=5)


def test_a_slow_client_is_waited_for_and_not_buffered_for(own_server: LogServer) -> None:
    server = own_server
    log = server.log()
    lines = [f"{number:05} " + os.urandom(4096).hex() for number in range(10_000)]  # 82 MB
    log.write_text(text(lines))
    other = server.log("other")
    other.write_text("one\n")
    client, bystander = server.connect(compression=None), server.connect("other")
    assert bystander.frame() == "one"
    append(other, "two\n")
    assert bystander.frame() == "two"
    assert _memory_mb(server) < 120
    assert client.frames(10_000) == lines
    assert _memory_mb(server) < 120


def test_a_client_that_does_not_read_can_vanish(own_server: LogServer) -> None:
    server = own_server
    log = server.log()
    log.write_text(text([os.urandom(4096).hex()] * 5_000))
    client = server.connect(compression=None)
    assert eventually(lambda: server.debug()["logs"] != [])
    client.connection.socket.shutdown(socket.SHUT_RDWR)
    assert eventually(lambda: server.debug()["logs"] == [] and server.debug()["tasks"] == [])


# Shutdown


def test_sigterm_closes_quiet_streams_with_going_away(own_server: LogServer) -> None:
    server = own_server
    server.log().write_text("one\n")
    clients = [server.connect("run" if number % 2 else server.log("empty").parent.name) for number in range(10)]
    for client in clients:
        client.frame()
    server.process.terminate()
    for client in clients:
        assert client.closed() == (1001, "")
    server.process.wait(timeout=5)


@pytest.mark.slow
def test_sigterm_does_not_wait_for_a_client_that_does_not_read(own_server: LogServer) -> None:
    server = own_server
    server.log().write_text(text([os.urandom(4096).hex()] * 5_000))
    stuck = server.connect(compression=None)
    server.log("quiet").write_text("one\n")
    quiet = server.connect("quiet")
    assert quiet.frame() == "one"
    assert eventually(lambda: len(server.debug()["logs"]) == 2)
    server.process.terminate()
    assert quiet.closed() == (1001, "")
    server.process.wait(timeout=10)
    assert stuck.connection.socket is not None


def _memory_mb(server: LogServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_no_frame_shows_a_path(server: LogServer) -> None:
    """Every frame that the server makes itself, in all situations that make one."""
    frames: list[str] = []

    def collect(client: Client, count: int) -> None:
        frames.extend(client.frames(count))

    collect(server.connect("unknown"), 1)
    collect(server.connect(query="?offset=x"), 1)
    waiting = server.connect("late") if server.log("late") else None
    assert waiting is not None
    collect(waiting, 1)
    server.log("late").touch()
    collect(waiting, 1)
    server.log("directory").mkdir()
    collect(server.connect("directory"), 1)
    server.log("long").write_text("x\n" * 10_001)
    collect(server.connect("long"), 1)
    assert all(frame.startswith(("[info] ", "[error] ")) for frame in frames)
    assert not [frame for frame in frames if "/" in frame or str(server.root) in frame or "Errno" in frame]
