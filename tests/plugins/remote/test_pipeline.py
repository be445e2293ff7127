"""Reading remote files with many requests in flight, from a real server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.delaying_proxy import delaying
from runicorn_remote import connection as connection_module
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Connected, Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import OperationTimeout
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.pipeline import Pipeline
from tests.plugins.remote.mirroring import connect_to
from tests.serving import wait_until
from tests.sshd import Sshd

_PATIENCE_S = 3.0
_SLOW_LINK = 1_000_000
"""Bytes in a second: with two megabytes under way, everybody else would wait for two seconds."""


@contextmanager
def slowly_connected(sshd: Sshd) -> Generator[Connection]:
    """A connection over a slow link."""
    with delaying(sshd.host, sshd.port, 0.005, _SLOW_LINK) as port:
        credentials = Credentials(private_key_path=str(sshd.private_key_path), use_agent=False)
        connection = Connection(Target("127.0.0.1", port.port, sshd.username), credentials, HostKeyPolicy())
        try:
            yield connection
        finally:
            connection.close()


def test_a_look_does_not_wait_behind_a_large_file_on_a_slow_link(sshd: Sshd, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(3 * _SLOW_LINK))
    with slowly_connected(sshd) as connection:
        looking, reading = Pipeline(connection.open_sftp()), Pipeline(connection.open_sftp())
        received, has_begun = [0], threading.Event()

        def read() -> None:
            for piece in reading.read(str(large), 0, large.stat().st_size):
                received[0] += len(piece)
                if received[0] > 300_000:
                    has_begun.set()

        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(read)
            assert has_begun.wait(60)
            looking.stat(str(large))
            meanwhile = received[0]
            done.result(60)
    assert meanwhile < large.stat().st_size / 2
    assert received[0] == large.stat().st_size


def test_a_server_is_not_dead_while_bytes_arrive(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watchdog asks is answered behind what the server sends to others: here, never."""

    def ask(self: Connection, connected: Connected) -> None:
        if not reading.is_set():
            return
        began = time.monotonic()
        asked.append(began)
        while connected.heard.at <= began and not is_over.wait(0.01):
            pass
        raise OperationTimeout

    asked: list[float] = []
    reading, is_over = threading.Event(), threading.Event()
    large = tmp_path / "large"
    large.write_bytes(os.urandom(2 * _SLOW_LINK))
    monkeypatch.setattr(connection_module, "_WATCH_S", 0.05)
    monkeypatch.setattr(connection_module, "_FLOWING_S", 0.5)
    monkeypatch.setattr(Connection, "_ask", ask)
    with slowly_connected(sshd) as connection:
        pipeline = Pipeline(connection.open_sftp())
        reading.set()
        assert sum(map(len, pipeline.read(str(large), 0, large.stat().st_size))) == large.stat().st_size
        assert connection.is_alive
        is_over.set()
        wait_until(lambda: not connection.is_alive, "the end of a silent connection")
        assert asked


@pytest.mark.slow
def test_a_server_that_says_nothing_is_waited_for_once(sshd: Sshd, tmp_path: Path) -> None:
    """Neither the answers that are under way nor the end of the file are waited for again."""
    large = tmp_path / "large"
    large.write_bytes(os.urandom(32 << 20))
    connection = connect_to(sshd)
    try:
        sftp = connection.open_sftp()
        pieces = Pipeline(sftp).read(str(large), 0, large.stat().st_size)
        next(pieces)
        channel = sftp.get_channel()
        assert channel is not None
        channel.settimeout(_PATIENCE_S)
        sshd.freeze()
        heard: list[float] = [time.monotonic()]
        with pytest.raises(OperationTimeout):
            heard.extend(time.monotonic() for _ in pieces)
        assert time.monotonic() - heard[-1] < 2 * _PATIENCE_S
    finally:
        sshd.thaw()
        connection.close()
