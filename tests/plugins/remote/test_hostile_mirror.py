"""A whole mirror task against servers that do not mean well: nothing outside of the target, bounded memory and disk."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import shutil
import stat
import tempfile
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paramiko
import pytest
from paramiko.sftp import SFTP_PERMISSION_DENIED

from runicorn.plugin import recorder_of
from runicorn_remote.connection import Connection
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from tests.plugins.remote.made_up_files import DIRECTORY, ROOT, Entry, serving
from tests.plugins.remote.mirroring import RUN as REAL_RUN
from tests.plugins.remote.mirroring import connect_to, mirrored, mirroring, wait_for_scans, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer, connected_to
from tests.plugins.remote.test_hostile_smart import META, RUN, STATUS, connected, tree_of
from tests.serving import wait_until
from tests.ssh_server import sshd_as_nobody, sshd_with_script
from tests.sshd import Sshd

EVIL_NAMES = ["../evil", "../../../../evil", "/evil", "..", ".", "a/b", "x\0y", "x" * 300, "line\nbreak", "\x1b[2J", ""]


@pytest.fixture(autouse=True)
def home(ssh_directory: Path) -> Path:
    """Where host keys are noted."""
    return ssh_directory.parent


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


@contextlib.contextmanager
def following(connection: Connection, local: Path, root: str = ROOT) -> Generator[MirrorTask]:
    local.mkdir(exist_ok=True)
    source = RemoteSource(connection.target, root)
    task = MirrorTask(connection, connection.connection_id, source, local, 0.5, recorder_of(local))
    task.start()
    try:
        yield task
    finally:
        task.stop()


def everything(directory: Path) -> set[str]:
    """All there is below a directory, but for the state of the mirror, the log, and known host keys."""
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if not path.is_dir() and not {".mirrors", ".runicorn", ".config", ".ssh"}.intersection(path.parts)
    }


def has_scanned(task: MirrorTask) -> bool:
    return task.report().stats.scans >= 2


@pytest.mark.slow(3)
def test_names_that_lead_elsewhere_become_no_files(
    tmp_path: Path, local: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Entry(mode=DIRECTORY)
    tree = tree_of({"meta.json": META, **dict.fromkeys(EVIL_NAMES, META)})
    tree[ROOT] |= dict.fromkeys(["..", "../evil", "/etc", "a/b"], folder)
    for name in ("..", "../../../../evil", "/evil"):
        tree[f"{ROOT}/vision/resnet/runs"][name] = folder
        tree[f"{ROOT}/vision/resnet/runs/{name}"] = {"meta.json": META}
    before = everything(tmp_path)
    with connected(tree) as connection, following(connection, local) as task:
        wait_until(lambda: has_scanned(task), f"{task.report()}")
        wait_until((local / RUN / "meta.json").exists)
        wait_for_scans(task)
        assert task.report().stats.failed_files > 0
        assert task.report().last_error == ""
    refused = [record.args for record in caplog.records if "refused a name" in record.msg]
    assert len(refused) == len(set(refused)) > 5  # logged once each
    assert everything(tmp_path) - before == {f"local/{RUN}/meta.json"}


def test_a_listing_command_that_lies_makes_no_files_elsewhere(tmp_path: Path, local: Path) -> None:
    """The same names, as `find` would print them if it were the server's own."""
    remote = tmp_path / "there"
    write_run(remote)
    said = b"RN1\0"
    for name in [*EVIL_NAMES, "../../etc/passwd", "a/../../b", f"{REAL_RUN}/../../../../../evil"]:
        said += b"f 4 1736868645.5 " + name.encode() + b"\0"
    said += b"f 99999999999999999999999 1.0 digits\0" + b"f -1 1.0 negative\0" + b"d 1 1.0 directory\0" + b"x" * 40_000
    said += b"\0l 5 1736868645.5 vision/link\0"
    said += f"f {(remote / REAL_RUN / 'meta.json').stat().st_size} 1736868645.5 {REAL_RUN}/meta.json\0RN2 0\0".encode()
    (remote / "vision" / "link").symlink_to("/etc/passwd")
    (tmp_path / "said").write_bytes(said)
    script = (
        'case "$SSH_ORIGINAL_COMMAND" in *sftp-server) exec "$SSH_ORIGINAL_COMMAND";; esac\n'
        f"cat {shlex.quote(str(tmp_path / 'said'))}\n"
    )
    with sshd_with_script(tmp_path, tmp_path / "liar", script) as sshd:
        before = everything(tmp_path)
        with mirroring(sshd, remote, local) as task:
            wait_until((local / REAL_RUN / "meta.json").exists, f"{task.report()}")
            wait_for_scans(task)
            assert task.report().stats.failed_files >= len(EVIL_NAMES)
    assert everything(tmp_path) - before == {f"local/{REAL_RUN}/meta.json"}


def test_a_local_file_that_became_a_link_is_not_written_through(sshd: Sshd, tmp_path: Path, local: Path) -> None:
    run = write_run(tmp_path / "there", status="running")
    secret = tmp_path / "secret"
    secret.write_text("mine")
    with mirroring(sshd, tmp_path / "there", local) as task:
        wait_for_scans(task)
        for name in ("logs.txt", "status.json"):
            (local / REAL_RUN / name).unlink()
            (local / REAL_RUN / name).symlink_to(secret)
        with (run / "logs.txt").open("a") as file:
            file.write("15:30:46 | again\n")
        wait_for_scans(task, 3)
        assert task.report().stats.failed_files > 0
    assert secret.read_text() == "mine"


def endless(offset: int, length: int) -> bytes:
    """What a file holds that has no end."""
    return b"x" * length


@pytest.mark.slow(4)
def test_sizes_that_change_and_files_without_end_take_no_room(local: Path) -> None:
    growing = itertools.count(1 << 20, 1 << 16)
    tree = tree_of(
        {
            "meta.json": META,
            "moving.bin": Entry(endless, size=lambda: next(growing)),
            "small.bin": Entry(endless, size=10),
            "logs.txt": Entry(endless, size=10),
            "shorter.log": Entry(b"not so long", size=1000),
        }
    )
    with connected(tree) as connection, following(connection, local) as task:
        wait_until((local / RUN / "meta.json").exists)
        tracemalloc.start()
        try:
            wait_for_scans(task, 4)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 64 << 20
        taken = sum(path.stat().st_size for path in local.rglob("*") if path.is_file() and path.suffix != ".db")
        assert taken < 16 << 20
    assert not list(local.rglob("*.part"))
    assert (local / RUN / "logs.txt").read_bytes() == b"x" * 10
    assert not (local / RUN / "moving.bin").exists()
    assert not (local / RUN / "small.bin").exists()


def test_sizes_beyond_every_disk_are_an_error_of_the_task_and_hold_no_small_file_up(local: Path) -> None:
    huge = {f"{number}.bin": Entry(endless, size=(1 << 63) + number) for number in range(3)}
    tree = tree_of({"meta.json": META, "status.json": STATUS, "events.jsonl": Entry(endless, size=1 << 62), **huge})
    with connected(tree) as connection, following(connection, local) as task:
        wait_until(lambda: "No space left" in task.report().last_error, f"{task.report()}")
        assert {path.name for path in (local / RUN).iterdir()} == {"meta.json", "status.json"}
        report = task.report()
        assert report.state == "reconnecting"
        assert 1 << 62 < report.waiting_bytes < 1 << 63
        assert msgspec.json.decode(msgspec.json.encode(report))["waiting_files"] == 4
    assert not list(local.rglob("*.part"))


def test_a_listing_without_end_is_an_error_of_the_task(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runicorn_remote import enumeration, looking

    for module in (enumeration, looking):
        monkeypatch.setattr(module, "MAX_ENTRIES", 500)
    many = tree_of({f"{number}.json": META for number in range(2000)})
    with connected(many) as connection, following(connection, local) as task:
        wait_until(lambda: "More than" in task.report().last_error, f"{task.report()}")
        assert task.report().state == "reconnecting"
        assert task.report().waiting_files == 0
    assert everything(local) == set()


def test_links_that_leave_the_root_bring_nothing(local: Path) -> None:
    link = stat.S_IFLNK | 0o777
    tree = tree_of(
        {
            "meta.json": META,
            "passwd": Entry(b"root", mode=link, target="/etc/passwd"),
            "beside": Entry(b"root", mode=link, target=f"{ROOT}-other/file"),
        }
    )
    with connected(tree) as connection, following(connection, local) as task:
        wait_for_scans(task)
        wait_until((local / RUN / "meta.json").exists)
    assert everything(local) == {f"{RUN}/meta.json"}


# ── what must not be read ───────────────────────────────────────────────────


@pytest.mark.slow(4)
def test_what_a_server_refuses_is_counted_and_everything_else_arrives(local: Path) -> None:
    tree = tree_of({"meta.json": META, "status.json": STATUS, "secret.txt": Entry(b"secret")})
    tree[f"{ROOT}/vision/resnet/runs"]["locked"] = Entry(mode=DIRECTORY)
    forbidden = {f"{ROOT}/vision/resnet/runs/locked", f"{ROOT}/{RUN}/secret.txt"}

    class Refusing(serving(tree)):
        def list_folder(self, path: str) -> Any:
            return SFTP_PERMISSION_DENIED if path in forbidden else super().list_folder(path)

        def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
            return SFTP_PERMISSION_DENIED if path in forbidden else super().open(path, flags, attr)

    with (
        ParamikoServer(files=Refusing) as server,
        connected_to(server) as connection,
        following(connection, local) as task,
    ):
        wait_until(lambda: task.report().stats.failed_files == 2, f"{task.report()}")
        wait_for_scans(task, 4)
        assert task.report().stats.failed_files == 2  # each once
        assert (task.report().state, task.report().last_error) == ("watching", "")
    assert everything(local) == {f"{RUN}/meta.json", f"{RUN}/status.json"}


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every account may enter, as pytest's own are not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_files_of_somebody_else_on_a_real_server_are_counted_and_everything_else_arrives(
    open_directory: Path, tmp_path: Path, local: Path
) -> None:
    remote = open_directory / "there"
    run = write_run(remote)
    (run / "secret.txt").write_text("secret")
    (run / "secret.txt").chmod(0)
    locked = write_run(remote, "vision/resnet/runs/locked").parent / "locked"
    locked.chmod(0)
    (run / "dangling").symlink_to("nowhere")
    with sshd_as_nobody(open_directory, tmp_path / "other-home") as sshd:
        connection = connect_to(sshd)
        try:
            with following(connection, local, str(remote)) as task:
                wait_for_scans(task)
                assert not connection.has_no_commands
                wait_until(lambda: task.report().stats.failed_files == 2, f"{task.report()}")
                assert (task.report().state, task.report().last_error) == ("watching", "")
        finally:
            connection.close()
    assert everything(local) == {path for path in mirrored(remote) if "locked" not in path and "secret" not in path}
