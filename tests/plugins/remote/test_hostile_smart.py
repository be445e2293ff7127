"""Smart mode against servers that do not mean well, or hardly answer: nothing outside of the cache, bounded memory and disk."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import tracemalloc
from collections.abc import Generator
from pathlib import Path

import pytest

from runicorn_remote.connection import Connection
from runicorn_remote.enumeration import TooManyFiles, enumerate_root
from runicorn_remote.errors import ConnectionLost, RemoteError
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.pipeline import Pipeline
from runicorn_remote.smart import sync
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.downloads import Downloads
from runicorn_remote.smart.sync import MAX_FILE_BYTES, SyncProgress, synchronise
from runicorn_remote.smart.tails import MAX_LOG_BYTES, Tails
from runicorn_remote.smart.versions import UnsafeManifest, Version, VersionFile, files_of
from tests.plugins.remote.made_up_files import DIRECTORY, ROOT, Entry, serving
from tests.plugins.remote.mirroring import connect_to, write_run
from tests.plugins.remote.paramiko_server import ParamikoServer, connected_to
from tests.serving import wait_until
from tests.sshd import Sshd

RUN = "vision/resnet/runs/r1"
META = Entry(b'{"id": "r1", "created_at": 1736868645.0}')
STATUS = Entry(b'{"status": "finished"}')

Tree = dict[str, dict[str, Entry]]


def tree_of(run: dict[str, Entry], **others: dict[str, Entry]) -> Tree:
    """A root with one run, whose directory has these entries."""
    folder = {"": Entry(mode=DIRECTORY)}[""]
    return {
        ROOT: {"vision": folder, "artifacts": folder},
        f"{ROOT}/vision": {"resnet": folder},
        f"{ROOT}/vision/resnet": {"runs": folder},
        f"{ROOT}/vision/resnet/runs": {"r1": folder},
        f"{ROOT}/{RUN}": run,
        f"{ROOT}/artifacts": {},
        **others,
    }


@contextlib.contextmanager
def connected(tree: Tree) -> Generator[Connection]:
    with ParamikoServer(files=serving(tree)) as server, connected_to(server) as connection:
        yield connection


@contextlib.contextmanager
def cached(connection: Connection, root: str = ROOT) -> Generator[Cache]:
    cache = Cache.for_writing(RemoteSource(connection.target, root))
    try:
        yield cache
    finally:
        cache.close()


def synced(connection: Connection, cache: Cache) -> SyncProgress:
    progress = SyncProgress("running", 0.0)
    synchronise(connection, ROOT, cache, progress, lambda: None)
    return progress


def files_below(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}


@pytest.fixture(autouse=True)
def home(ssh_directory: Path) -> Path:
    """Where the caches are."""
    return ssh_directory.parent


def test_names_that_lead_elsewhere_become_no_files(home: Path, tmp_path: Path) -> None:
    names = [
        "../evil",
        "../../../../../evil",
        "/evil",
        "..",
        ".",
        "a/b",
        "meta.json\0x",
        "x" * 300,
        "status.json\n",
        "",
    ]
    folder = Entry(mode=DIRECTORY)
    tree = tree_of({"meta.json": META, **dict.fromkeys(names, META)})
    tree[ROOT] |= dict.fromkeys(["..", "../evil", "/etc", "a/b"], folder)
    tree[f"{ROOT}/vision/resnet/runs"] |= {"../../../../evil": folder, "..": folder}
    tree[f"{ROOT}/vision/resnet/runs/../../../../evil"] = {"meta.json": META}
    before = files_below(tmp_path)
    with connected(tree) as connection, cached(connection) as cache:
        progress = synced(connection, cache)
        assert files_below(cache.metadata) == {f"experiments/{RUN}/meta.json"}
        assert progress.errors == []
        own = files_below(cache.directory)
        inside = cache.directory.relative_to(tmp_path).as_posix()
    outside = {path for path in files_below(tmp_path) - before if not path.startswith(f"{inside}/")}
    assert all(path.endswith(("known_hosts", "known_hosts.lock")) for path in outside), outside
    assert {"source.json", "index.db"} <= own


def test_links_that_leave_the_root_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("local secret")
    link = stat.S_IFLNK | 0o777
    run = {
        "meta.json": META,
        "status.json": Entry(b"{}", mode=link, target="/etc/passwd"),
        "summary.json": Entry(b"{}", mode=link, target=f"{ROOT}/../etc/passwd"),
        "environment.json": Entry(b"{}", mode=link, target=f"{ROOT}-beside/x"),
    }
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        synced(connection, cache)
        assert files_below(cache.metadata) == {f"experiments/{RUN}/meta.json"}


def test_a_local_link_in_the_cache_is_not_followed(tmp_path: Path) -> None:
    with connected(tree_of({"meta.json": META, "status.json": STATUS})) as connection, cached(connection) as cache:
        outside = tmp_path / "outside"
        outside.mkdir()
        (cache.experiments / "vision").symlink_to(outside)
        progress = synced(connection, cache)
        assert len(progress.errors) == 2
        assert files_below(outside) == set()


def test_a_file_that_is_said_to_be_huge_is_not_fetched() -> None:
    def endless(offset: int, length: int) -> bytes:
        raise AssertionError("was read")

    run = {"meta.json": META, "status.json": Entry(endless, size=1 << 60), "summary.json": Entry(endless, size=2**63)}
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        progress = synced(connection, cache)
        assert files_below(cache.metadata) == {f"experiments/{RUN}/meta.json"}
        assert sorted(line.partition(":")[0] for line in progress.errors) == [
            f"{RUN}/status.json",
            f"{RUN}/summary.json",
        ]


def test_all_metadata_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "MAX_BYTES", 100)
    run = {"meta.json": META, "status.json": STATUS, "summary.json": Entry(b"{}" + b" " * 60)}
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        progress = synced(connection, cache)
        assert len(files_below(cache.metadata)) == 2
        assert len(progress.errors) == 1


def test_a_file_that_never_holds_still_is_named_and_the_others_arrive() -> None:
    sizes = iter(range(3, 100_000))
    run = {"meta.json": META, "status.json": Entry(b"{}" * 60_000, size=lambda: next(sizes))}
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        progress = synced(connection, cache)
        assert progress.errors == [f"{RUN}/status.json: changed while it was read"]
        assert files_below(cache.metadata) == {f"experiments/{RUN}/meta.json"}


def test_more_bytes_than_were_asked_for_are_not_taken() -> None:
    run = {"meta.json": Entry(lambda offset, length: b"x" * (1 << 19), size=40)}
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        with pytest.raises(RemoteError):
            synced(connection, cache)
        assert files_below(cache.metadata) == set()


def test_a_packet_that_is_too_long_ends_the_connection() -> None:
    run = {"meta.json": Entry(lambda offset, length: b"x" * (8 << 20), size=40)}
    with connected(tree_of(run)) as connection:
        pipeline = Pipeline(connection.open_sftp())
        with pytest.raises(ConnectionLost):
            pipeline.fetch([(f"{ROOT}/{RUN}/meta.json", 40)])


def test_a_tree_without_end_has_one_here() -> None:
    folder = Entry(mode=DIRECTORY)

    class Endless(dict[str, dict[str, Entry]]):
        def get(self, path: str, default: object = None) -> dict[str, Entry]:  # pyright: ignore[reportIncompatibleMethodOverride]  # a double
            return {"deeper": folder, "meta.json": META}

        def __contains__(self, path: object) -> bool:
            return str(path).endswith(("deeper", ROOT))

    with connected(Endless()) as connection:
        found = enumerate_root(connection, ROOT)
        assert max(file.path.count("/") for file in found.files) <= 32


def test_too_many_files_end_the_sync_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from runicorn_remote import enumeration, looking

    for module in (enumeration, looking):
        monkeypatch.setattr(module, "MAX_ENTRIES", 1000)
    many = tree_of({f"{number}.json": META for number in range(3000)})
    with connected(many) as connection, cached(connection) as cache, pytest.raises(TooManyFiles):
        synced(connection, cache)
    for module in (enumeration, looking):
        monkeypatch.setattr(module, "MAX_ENTRIES", 1 << 30)
        monkeypatch.setattr(module, "MAX_NAME_BYTES", 1000)
    long = tree_of({"x" * 200 + str(number): META for number in range(300)})
    with connected(long) as connection, cached(connection) as cache, pytest.raises(TooManyFiles):
        synced(connection, cache)


@pytest.mark.parametrize("path", ["../x", "/x", "a\\..\\b", "a/../../x", "C:x", "a\0b", "", ".", "a//b", "x" * 300])
def test_a_manifest_that_leads_elsewhere_is_refused(path: str) -> None:
    manifest = json.dumps({"files": [{"path": "good", "size": 1}, {"path": path, "size": 1}]}).encode()
    folder = Entry(mode=DIRECTORY)
    tree = tree_of({"meta.json": META})
    base = f"{ROOT}/artifacts"
    tree |= {
        base: {"model": folder},
        f"{base}/model": {"net": folder},
        f"{base}/model/net": {"v1": folder},
        f"{base}/model/net/v1": {"metadata.json": Entry(b"{}"), "manifest.json": Entry(manifest)},
    }
    with connected(tree) as connection, cached(connection) as cache:
        synced(connection, cache)
        with pytest.raises(UnsafeManifest):
            files_of(cache, Version("model", "net", 1))


def test_a_download_takes_no_more_than_the_manifest_says_and_leaves_nothing_of_what_is_wrong(tmp_path: Path) -> None:
    """The server says another size, sends without end, or claims more than there is room for."""
    base = f"{ROOT}/artifacts/model/net/v1/files"
    tree = tree_of({}, **{
        base: {
            "grown": Entry(b"x" * 100, size=100),
            "endless": Entry(lambda offset, length: b"x" * length, size=10),
            "vast": Entry(lambda offset, length: b"x" * length, size=1 << 60),
        }
    })  # fmt: skip
    wanted = {
        "grown": (10, "Size mismatch: expected 10, got 100"),
        "endless": (10, "Checksum mismatch"),
        "vast": (1 << 60, "No space left on device"),
    }
    with connected(tree) as connection:
        downloads = Downloads()
        for name, (size, error) in wanted.items():
            file = VersionFile(name, size, "sha256:" + "0" * 64)
            target = tmp_path / f"target-{name}"
            task = downloads.start(connection, ROOT, Version("model", "net", 1), [file], target, lambda: None)
            wait_until(lambda task=task: not task.is_running, timeout_s=30)
            assert error in (task.report().error or "")
            assert files_below(target) == set()


def test_an_event_stream_that_would_fill_the_disk_is_not_brought() -> None:
    run = {"meta.json": META, "events.jsonl": Entry(lambda offset, length: b"x" * length, size=1 << 60)}
    with connected(tree_of(run)) as connection, cached(connection) as cache:
        synced(connection, cache)
        with pytest.raises(OSError, match="No space left"):
            Tails(connection, ROOT, cache).bring(RUN)
        assert files_below(cache.metadata) == {f"experiments/{RUN}/meta.json"}


def test_a_server_that_stops_answering_holds_nothing_up() -> None:
    asked, goes_on = threading.Event(), threading.Event()

    def stalled(offset: int, length: int) -> bytes:
        asked.set()
        goes_on.wait(60)
        return b""

    with connected(tree_of({"meta.json": META, "status.json": Entry(stalled, size=20)})) as connection:
        source = RemoteSource(connection.target, ROOT)
        adapter = Adapter(
            connection,
            source,
            auto_sync=False,
            interval_minutes=5,
            after_sync=lambda adapter: None,
            tell=lambda progress: None,
        )
        try:
            adapter.start(sync_now=True)
            assert asked.wait(30)
            assert adapter.status == "syncing"
            assert adapter.stats().cached_experiments == 0
            connection.close()  # as the end of the mode does, when nobody else needs the connection
            wait_until(lambda: adapter.progress is not None and adapter.progress.status == "failed", timeout_s=10)
        finally:
            goes_on.set()
            adapter.stop()


def test_memory_does_not_grow_with_what_a_server_sends() -> None:
    content = b"[" + b" " * (MAX_FILE_BYTES - 2) + b"]"
    runs = {f"r{number}": Entry(mode=DIRECTORY) for number in range(4)}
    tree = tree_of({})
    tree[f"{ROOT}/vision/resnet/runs"] = runs
    for name in runs:
        tree[f"{ROOT}/vision/resnet/runs/{name}"] = {"meta.json": META, "environment.json": Entry(content)}
    with connected(tree) as connection, cached(connection) as cache:
        tracemalloc.start()
        try:
            progress = synced(connection, cache)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert progress.synced_files == 8
    assert peak < 3 * MAX_FILE_BYTES  # one file at a time, whose pieces are joined


def test_a_long_log_begins_at_a_line_near_its_end_and_grows_from_there(sshd: Sshd, tmp_path: Path) -> None:
    root = tmp_path / "there"
    run = write_run(root, "vision/resnet/runs/r1", status="running")
    log = run / "logs.txt"
    lines = [f"{number:08d} {'x' * 60}\n" for number in range(300_000)]
    log.write_text("".join(lines))
    connection = connect_to(sshd)
    try:
        with cached(connection, str(root)) as cache:
            synchronise(connection, str(root), cache, SyncProgress("running", 0.0), lambda: None)
            here = cache.experiments / RUN / "logs.txt"
            Tails(connection, str(root), cache).bring(RUN)
            content = here.read_text()
            assert MAX_LOG_BYTES - 100 < len(content) <= MAX_LOG_BYTES
            assert log.read_text().endswith("\n" + content)
            inode = here.stat().st_ino
            with log.open("a") as file:
                file.write("more\n")
            Tails(connection, str(root), cache).bring(RUN)
            assert (here.read_text(), here.stat().st_ino) == (content + "more\n", inode)
            log.write_text("another log\n")
            Tails(connection, str(root), cache).bring(RUN)
            assert here.read_text() == "another log\n"
            os.truncate(log, 0)
            Tails(connection, str(root), cache).bring(RUN)
            assert here.read_text() == ""
    finally:
        connection.close()
