"""Enumerating what a server has: odd names, links and answers, and few round trips."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.sftp import CMD_ATTRS, CMD_NAME, CMD_STATUS, SFTP_NO_SUCH_FILE

from benchmarks.delaying_proxy import delaying
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.enumeration import enumerate_directories, enumerate_root
from runicorn_remote.errors import ConnectionLost, FileTooLarge, RemotePathNotFound
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.listing import list_directory
from runicorn_remote.looking import Looking
from runicorn_remote.pipeline import Fetched, Pipeline
from tests.plugins.remote.made_up_files import ROOT, serving
from tests.plugins.remote.mirroring import connect_to, mirrored, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer, connected_to
from tests.plugins.remote.test_hostile_smart import META, tree_of
from tests.ssh_server import sshd_or_skip, sshd_with_script
from tests.sshd import Sshd

LATIN = b"caf\xe9"  # no UTF-8


@pytest.fixture(autouse=True)
def home(ssh_directory: Path) -> Path:
    """Where host keys are noted."""
    return ssh_directory.parent


@pytest.fixture(params=["find", "walking"])
def connection(request: pytest.FixtureRequest, sshd: Sshd, tmp_path: Path) -> Iterator[Connection]:
    """To a server that runs commands, and to one that does not."""
    files_only = sshd_or_skip(home=tmp_path / "files-only", extra_config=["ForceCommand internal-sftp"])
    with files_only if request.param == "walking" else sshd as server:
        connection = connect_to(server)
        yield connection
        connection.close()


# ── names and links ─────────────────────────────────────────────────────────


def test_links_to_and_with_names_that_are_no_utf8_hide_nothing_else(connection: Connection, tmp_path: Path) -> None:
    root = tmp_path / "there"
    run = write_run(root)
    odd = os.fsencode(run) + b"/" + LATIN
    Path(os.fsdecode(odd)).write_text("odd")
    (run / "link.txt").symlink_to(os.fsdecode(LATIN))
    os.symlink("meta.json", odd + b".json")
    os.mkdir(odd + b"-folder")
    found = {file.path.rpartition("/")[2]: file.size for file in enumerate_root(connection, str(root)).files}
    assert found["link.txt"] == 3
    assert found["meta.json"] == (run / "meta.json").stat().st_size
    assert enumerate_root(connection, str(root)).is_complete


def test_a_root_whose_real_name_is_no_utf8_can_be_read(connection: Connection, tmp_path: Path) -> None:
    real = os.fsdecode(os.fsencode(tmp_path) + b"/" + LATIN)
    run = write_run(Path(real))
    (run / "link.json").symlink_to("meta.json")
    (tmp_path / "root").symlink_to(real)
    found = {file.path.rpartition("/")[2] for file in enumerate_root(connection, str(tmp_path / "root")).files}
    assert {"meta.json", "link.json"} <= found


def test_times_beyond_what_can_be_stored_are_all_the_same(sshd: Sshd, tmp_path: Path) -> None:
    said = b"RN1\0f 4 999999999999999.5 a/b/runs/c/x\0f 4 -999999999999999.5 a/b/runs/c/y\0RN2 0\0"
    (tmp_path / "said").write_bytes(said)
    with liar(tmp_path, f"cat {tmp_path / 'said'}") as server:
        connection = connect_to(server)
        try:
            times = [file.mtime_ns for file in enumerate_root(connection, str(tmp_path)).files]
        finally:
            connection.close()
    assert times == [(1 << 63) - 1, 1 - (1 << 63)]


def liar(tmp_path: Path, command: str) -> Sshd:
    """A server that carries out another command than the one it is told, and has SFTP."""
    script = f'case "$SSH_ORIGINAL_COMMAND" in *sftp-server) exec $SSH_ORIGINAL_COMMAND;; esac\n{command}\n'
    return sshd_with_script(tmp_path, tmp_path / "liar", script)


def test_output_that_a_login_script_holds_open_is_not_waited_for(sshd: Sshd, tmp_path: Path) -> None:
    root = tmp_path / "there"
    write_run(root)
    background = 'sleep 600 & echo $! > "$HOME/pid"; eval "$SSH_ORIGINAL_COMMAND"'
    with liar(tmp_path, background) as server:
        connection = connect_to(server)
        try:
            started = time.monotonic()
            found = enumerate_root(connection, str(root))
            assert time.monotonic() - started < 12  # the step would be over after 15 s
            assert not connection.has_no_commands
            assert {file.path for file in found.files} == set(mirrored(root))
        finally:
            connection.close()
            os.kill(int((tmp_path / "liar" / "pid").read_text()), 9)


def test_an_account_with_a_shell_of_another_kind_is_looked_at_by_a_command(sshd: Sshd, tmp_path: Path) -> None:
    """Neither fish nor csh knows `&&` with assignments, `$?` or both; what starts a program with its arguments, all know."""
    root = tmp_path / "it's there"
    write_run(root)
    words = "import os, shlex; words = shlex.split(os.environ['SSH_ORIGINAL_COMMAND']); os.execvp(words[0], words)"
    with liar(tmp_path, f"exec {shlex.quote(sys.executable)} -c {shlex.quote(words)}") as server:
        connection = connect_to(server)
        try:
            found = enumerate_root(connection, str(root))
            assert not connection.has_no_commands
        finally:
            connection.close()
    assert {file.path for file in found.files} == set(mirrored(root))


# ── many at a time ──────────────────────────────────────────────────────────


def test_more_running_runs_than_a_command_line_takes_are_looked_at_by_several_commands(
    sshd: Sshd, tmp_path: Path
) -> None:
    root = tmp_path / "there"
    runs = [f"vision/{'n' * 200}/runs/{number:04}" for number in range(1000)]
    for run in runs:
        (root / run).mkdir(parents=True)
        (root / run / "logs.txt").write_text(run)
    os.utime(root / runs[7] / "logs.txt", ns=(1736868645_000000123, 1736868645_000000123))
    connection = connect_to(sshd)
    try:
        found = enumerate_directories(connection, str(root), runs)
    finally:
        connection.close()
    assert sorted(file.path for file in found.files) == [f"{run}/logs.txt" for run in runs]
    assert found.is_complete
    # Walking would know whole seconds only.
    assert next(file for file in found.files if file.path.startswith(runs[7])).mtime_ns == 1736868645_000000123


def test_directories_and_links_are_looked_at_many_at_a_time(sshd: Sshd, tmp_path: Path) -> None:
    root = tmp_path / "there"
    for number in range(100):
        run = root / f"vision/resnet/runs/{number}"
        run.mkdir(parents=True)
        (run / "logs.txt").write_text("hello\n")
        (run / "link").symlink_to("logs.txt")
    (root / "many").mkdir()
    for number in range(250):  # more than one answer holds
        (root / "many" / f"{number}.json").touch()
    with delaying(sshd.host, sshd.port, 0.002) as port:
        credentials = Credentials(private_key_path=str(sshd.private_key_path), use_agent=False)
        connection = Connection(Target("127.0.0.1", port.port, sshd.username), credentials, HostKeyPolicy())
        connection.has_no_commands = True
        try:
            before = port.counts()
            found = enumerate_root(connection, str(root))
            counts = port.counts().since(before)
            with connection.shared_sftp() as sftp:
                shown = list_directory(sftp, str(root / "vision/resnet/runs/0"))
        finally:
            connection.close()
    assert len(found.files) == 100 * 2 + 250
    assert counts.turns < 100  # one after the other: more than 600
    assert [(item.name, item.type) for item in shown.items] == [("link", "file"), ("logs.txt", "file")]


# ── answers that are none ───────────────────────────────────────────────────


def speaking(answer: Callable[[paramiko.SFTPServer, int, int], bool]) -> type[paramiko.SFTPServer]:
    """A protocol in which `answer` may answer a request of a kind in its own words; whether it has."""

    class Odd(paramiko.SFTPServer):
        def _process(self, t: int, request_number: int, msg: Any) -> None:
            if not answer(self, t, request_number):
                super()._process(t, request_number, msg)  # type: ignore[misc]  # not public

    return Odd


def say(server: paramiko.SFTPServer, kind: int, number: int, *values: int | bytes) -> bool:
    message = paramiko.Message()
    message.add_int(number)
    for value in values:
        if isinstance(value, int):
            message.add_int(value)
        else:
            message.add_string(value)
    server._send_packet(kind, message)  # type: ignore[attr-defined]  # not public
    return True


def test_a_reason_that_is_no_utf8_is_a_reason() -> None:
    from paramiko.sftp import CMD_STAT

    odd = speaking(
        lambda server, kind, number: (
            kind == CMD_STAT and say(server, CMD_STATUS, number, SFTP_NO_SUCH_FILE, LATIN, b"de")
        )
    )
    with ParamikoServer(files=serving({}), protocol=odd) as server, connected_to(server) as connection:
        sftp = connection.open_sftp()
        with pytest.raises(RemotePathNotFound):
            Pipeline(sftp).stat("/x")
        with pytest.raises(RemotePathNotFound):
            list_directory(sftp, "/x")


@pytest.mark.parametrize("kind", ["names", "attributes"])
def test_more_than_an_answer_can_hold_is_no_answer(kind: str) -> None:
    from paramiko.sftp import CMD_READDIR, CMD_STAT

    most = (1 << 32) - 1

    def answer(server: paramiko.SFTPServer, asked: int, number: int) -> bool:
        if kind == "names":
            return asked == CMD_READDIR and say(server, CMD_NAME, number, most, b"x", b"x", 0)
        return asked == CMD_STAT and say(server, CMD_ATTRS, number, 0x80000000, most, b"a", b"b")

    tree = tree_of({"meta.json": META})
    with ParamikoServer(files=serving(tree), protocol=speaking(answer)) as server, connected_to(server) as connection:
        looking = Looking(connection.open_sftp())
        ask = looking.list if kind == "names" else looking.stat
        with pytest.raises(ConnectionLost):
            ask(ROOT)


def test_a_directory_that_never_ends_though_it_has_nothing_is_over() -> None:
    from paramiko.sftp import CMD_READDIR

    odd = speaking(lambda server, kind, number: kind == CMD_READDIR and say(server, CMD_NAME, number, 0))
    with ParamikoServer(files=serving(tree_of({})), protocol=odd) as server, connected_to(server) as connection:
        assert Looking(connection.open_sftp()).list(ROOT) == []


def test_of_a_file_that_claims_a_size_without_end_nothing_is_asked(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    connection = connect_to(sshd)
    try:
        large, small = Pipeline(connection.open_sftp()).fetch([("/dev/zero", 1 << 62), (str(tmp_path / "small"), 5)])
    finally:
        connection.close()
    assert isinstance(large, FileTooLarge)
    assert isinstance(small, Fetched)
    assert small.data == b"small"
