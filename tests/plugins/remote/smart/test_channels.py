"""Fetching over several channels: everything comes once, whatever the server allows, and an end ends all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runicorn_remote.connection import Connection
from runicorn_remote.errors import RemoteError
from runicorn_remote.pipeline import Fetched
from runicorn_remote.smart.channels import MAX_CHANNELS, Batch, fetched_over_channels
from tests.plugins.remote.mirroring import connect_to
from tests.serving import wait_until
from tests.ssh_server import sshd_or_skip
from tests.sshd import Sshd


@pytest.fixture
def groups(tmp_path: Path) -> list[Batch]:
    """Twenty batches of five small files."""
    files: list[tuple[str, int]] = []
    for number in range(100):
        path = tmp_path / f"{number}.json"
        path.write_text(str(number))
        files.append((str(path), path.stat().st_size))
    return [files[start : start + 5] for start in range(0, 100, 5)]


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[Connection]:
    connection = connect_to(sshd)
    yield connection
    connection.close()


def fetched(connection: Connection, groups: list[Batch]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for batch, answers in fetched_over_channels(connection, groups, lambda: None):
        for (path, _), answer in zip(batch, answers, strict=True):
            assert isinstance(answer, Fetched)
            assert path not in found
            found[path] = answer.data
    return found


def expected(groups: list[Batch]) -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for batch in groups for path, _ in batch}


def fetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "smart fetch"]


def test_everything_comes_once_over_several_channels(connection: Connection, groups: list[Batch]) -> None:
    seen: set[str] = set()

    def check() -> None:
        seen.update(str(thread.ident) for thread in fetching_threads())

    for _ in fetched_over_channels(connection, groups, check):
        pass
    assert len(seen) == MAX_CHANNELS
    assert fetched(connection, groups) == expected(groups)
    wait_until(lambda: not fetching_threads())


@pytest.mark.usefixtures("ssh_directory")
def test_a_server_that_allows_one_channel_is_not_logged_in_to_again(tmp_path: Path, groups: list[Batch]) -> None:
    with sshd_or_skip(home=tmp_path / "home-there", extra_config=["MaxSessions 1"]) as sshd:
        connection = connect_to(sshd)
        try:
            logins = sshd.log.count("Accepted publickey")
            assert fetched(connection, groups) == expected(groups)
            assert sshd.log.count("Accepted publickey") == logins
        finally:
            connection.close()


def test_less_room_than_all_channels_could_fill_only_takes_longer(
    connection: Connection, groups: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runicorn_remote.smart import channels

    monkeypatch.setattr(channels, "_MAX_BYTES", 1)
    assert fetched(connection, groups) == expected(groups)


def test_an_end_and_a_lost_connection_end_all_channels(connection: Connection, sshd: Sshd, groups: list[Batch]) -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with pytest.raises(Enough):
        list(fetched_over_channels(connection, groups, enough))
    wait_until(lambda: not fetching_threads())
    coming = fetched_over_channels(connection, groups, lambda: None)
    next(coming)
    sshd.kill()
    coming.close()
    wait_until(lambda: not fetching_threads())
    with pytest.raises(RemoteError):
        next(fetched_over_channels(connection, groups, lambda: None))
    wait_until(lambda: not fetching_threads())
