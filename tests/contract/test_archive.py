"""`POST /api/import/archive` over real HTTP."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from tests.archives import tar_of, tree, zip_of
from tests.promises import ENDED_S
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

Serve = Callable[..., Server]

RUN = "vision/resnet/runs/20250202_000001_aaaaaa"
FILES = {
    f"{RUN}/meta.json": b'{"id": "20250202_000001_aaaaaa", "project": "vision", "created_at": 1.5}',
    f"{RUN}/status.json": b'{"status": "failed"}',
    f"{RUN}/events.jsonl": metrics_event(1.0, global_step=1, loss=0.5).encode(),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose limits are small."""
    root = tmp_path_factory.mktemp("store") / "root"
    limits = {
        "RUNICORN_IMPORT_UPLOAD_BYTES": str(1 << 20),
        "RUNICORN_IMPORT_MEMBERS": "50",
        "RUNICORN_IMPORT_UNPACKED_BYTES": str(8 << 20),
    }
    server = Server(root, "--rate-limit", "off", environment=limits)
    wait_until_live(server)
    yield server
    server.stop(signal.SIGTERM)


def upload(server: Server, archive: bytes, name: str = "runs.tar.gz", query: str = "") -> httpx.Response:
    return server.http.post(f"/api/import/archive{query}", files={"file": (name, archive)})


def staged(root: Path) -> list[str]:
    return [entry.name for entry in (root / ".runicorn/staging").iterdir() if entry.is_dir()]


def renamed(run_id: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {name.replace("20250202_000001_aaaaaa", run_id): content for name, content in files.items()}


def test_the_answer_is_that_of_the_contract_and_the_next_read_shows_the_run(shared: Server) -> None:
    answer = upload(shared, tar_of(FILES))
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "ok": True,
            "imported_files": 3,
            "new_run_dirs": [f"{shared.root}/{RUN}"],
            "new_run_ids": ["20250202_000001_aaaaaa"],
            "storage": str(shared.root),
            "skipped_runs": [],
            "skipped_files": 0,
            "replaced_runs": [],
        },
    )
    listed = {run["id"]: run for run in shared.http.get("/api/runs").json()}
    assert listed["20250202_000001_aaaaaa"]["status"] == "failed"
    assert listed["20250202_000001_aaaaaa"]["created_time"] == 1.5
    rows = shared.http.get("/api/runs/20250202_000001_aaaaaa/metrics_step").json()["rows"]
    assert [row["loss"] for row in rows] == [0.5]
    assert staged(shared.root) == []
    for path in (shared.root / RUN).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.zip", zip_of),
        ("a.tgz", tar_of),
        ("A.TAR", lambda files: tar_of(files, "w")),
        ("a.tar.zst", lambda files: zstandard.compress(tar_of(files, "w"))),
        ("misleading.zip", tar_of),
        ("no-suffix", zip_of),
    ],
)
def test_the_content_tells_the_type(shared: Server, name: str, pack: Callable[[Any], bytes]) -> None:
    files = renamed(f"by-{name}")
    answer = upload(shared, pack(files), name).json()
    assert (answer["new_run_ids"], answer["imported_files"]) == ([f"by-{name}"], 3)
    for path, content in files.items():
        assert (shared.root / path).read_bytes() == content


def test_the_legacy_layout_and_an_empty_run_are_imported(shared: Server) -> None:
    archive = tar_of({"runs/old/meta.json": b"{}", "p/n/runs/hollow": {"type": tarfile.DIRTYPE}})
    answer = upload(shared, archive).json()
    assert answer["new_run_dirs"] == [f"{shared.root}/p/n/runs/hollow", f"{shared.root}/runs/old"]
    assert {"old", "hollow"} <= {run["id"] for run in shared.http.get("/api/runs").json()}


@pytest.mark.parametrize("archive", [zip_of({}), tar_of({}), tar_of({}, "w")], ids=["zip", "tgz", "tar"])
def test_an_empty_archive_is_no_error(shared: Server, archive: bytes) -> None:
    answer = upload(shared, archive)
    assert answer.status_code == 200
    assert (answer.json()["imported_files"], answer.json()["new_run_ids"]) == (0, [])


def test_an_import_over_existing_runs_changes_no_byte_of_them(shared: Server) -> None:
    deleted = make_run(shared.root, "x/y/runs/binned", meta={"a": 1})
    (deleted / ".deleted").write_text('{"deleted_at": 5.0}')
    kept = make_run(shared.root, "x/y/runs/kept", meta={"a": 1})
    before = tree(shared.root)
    archive = zip_of(
        {
            "x/y/runs/kept/meta.json": b"other",
            "x/y/runs/kept/more.txt": b"more",
            "elsewhere/z/runs/kept/meta.json": b"other",
            "runs/binned/meta.json": b"other",
        }
    )
    for _ in range(2):
        answer = upload(shared, archive).json()
        assert (answer["new_run_ids"], answer["imported_files"]) == ([], 0)
        assert answer["skipped_runs"] == ["binned", "kept"]
        assert tree(shared.root) == before
    assert kept.is_dir()


def test_overwriting_replaces_a_run_as_a_whole(shared: Server) -> None:
    make_run(shared.root, "x/y/runs/old-one", meta={"created_at": 1.0}, status={"status": "failed"}, extra={"a": 1})
    wait_until(lambda: shared.http.get("/api/runs/old-one").json().get("status") == "failed", "a run made by hand")
    new = {"x/y/runs/old-one/status.json": b'{"status": "odd"}'}
    answer = upload(shared, tar_of(new), query="?overwrite=true").json()
    assert (answer["replaced_runs"], answer["new_run_ids"]) == (["old-one"], [])
    assert [path.name for path in (shared.root / "x/y/runs/old-one").iterdir()] == ["status.json"]
    wait_until(lambda: shared.http.get("/api/runs/old-one").json()["status"] == "odd")
    log = "".join(path.read_text() for path in sorted((shared.root / ".runicorn/log").glob("*.jsonl")))
    imported = [json.loads(line)["data"] for line in log.splitlines() if '"run.imported"' in line]
    assert {"run": "x/y/runs/old-one", "run_id": "old-one", "replaced": True} in imported
    assert staged(shared.root) == []


def test_what_belongs_to_no_run_is_left_out(shared: Server) -> None:
    before = tree(shared.root)
    loose = {
        ".experiments_metadata.json": b"{}",
        "runicorn.db": b"db",
        "artifacts/model/net/versions.json": b"{}",
        "artifacts/n/runs/a/meta.json": b"{}",
        "webui/n/runs/a/meta.json": b"{}",
        "runs/n/runs": b"x",
        "p/n/notes.txt": b"x",
        ".runicorn/log/00000001.jsonl": b"x",
        ".runicorn-x/n/runs/a/meta.json": b"x",
        "p/n/runs/loose-only/events.jsonl.lock": b"",
    }
    answer = upload(shared, zip_of(loose)).json()
    assert (answer["new_run_ids"], answer["skipped_files"], answer["imported_files"]) == (["n"], 9, 1)
    after = tree(shared.root)
    assert set(after) - set(before) == {"runs/n", "runs/n/runs"}


EVIL_NAMES = [
    "../x",
    "p/n/runs/evil/../../../../../x",
    "../root-evil/x",
    "/tmp/runicorn-evil/x",
    "C:/x/n/runs/a/f",
    "c:p/n/runs/a/f",
    "p\\n\\runs\\evil\\f",
    "p/n/runs/evil/a\\b",
    "p/n/runs/evil/new\nline",
    "p/n/runs/evil/" + "a" * 256,
    "p/n/runs/" + "ü" * 200 + "/f",
    "p/n/runs/evil/" + "a/" * 80 + "f",
    "./../p/n/runs/evil/f",
    "p/n/runs/.hidden/f",
    ".git/n/runs/evil/f",
]


@pytest.mark.parametrize("pack", [tar_of, zip_of, lambda files: tar_of(files, "w")], ids=["tgz", "zip", "tar"])
def test_hostile_names_are_skipped_and_touch_nothing(shared: Server, pack: Callable[[Any], bytes]) -> None:
    before = tree(shared.root.parent)
    answer = upload(shared, pack(dict.fromkeys(EVIL_NAMES, b"evil")))
    assert answer.status_code == 200
    assert (answer.json()["new_run_ids"], answer.json()["skipped_files"]) == ([], len(EVIL_NAMES))
    assert tree(shared.root.parent) == before
    assert not Path("/tmp/runicorn-evil").exists()


def test_directories_outside_are_not_made(shared: Server) -> None:
    before = tree(shared.root.parent)
    entries: dict[str, Any] = {name: {"type": tarfile.DIRTYPE} for name in ("../d", "/d", "../root-evil", "p/../../d")}
    assert upload(shared, tar_of(entries)).json()["skipped_files"] == 4
    assert upload(shared, zip_of({"../d/": b"", "p/only/": b""})).json()["skipped_files"] == 1
    assert tree(shared.root.parent) == before


def test_links_devices_and_pipes_are_skipped_and_files_do_not_go_through_them(shared: Server) -> None:
    run = "p/n/runs/linked"
    entries: list[tuple[str, Any]] = [
        (f"{run}/meta.json", b"{}"),
        (f"{run}/link", {"type": tarfile.SYMTYPE, "linkname": "../../../../.."}),
        (f"{run}/link/through.txt", b"through"),
        (f"{run}/hard", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
        (f"{run}/fifo", {"type": tarfile.FIFOTYPE}),
        (f"{run}/char", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
        (f"{run}/block", {"type": tarfile.BLKTYPE}),
        ("p/n/runs/other", {"type": tarfile.SYMTYPE, "linkname": "linked"}),
        ("p/n/runs/setuid/tool", b"x"),
        ("p/n/runs/setuid", {"type": tarfile.DIRTYPE, "mode": 0o7777}),
    ]
    answer = upload(shared, tar_of(entries)).json()
    assert (answer["new_run_ids"], answer["skipped_files"], answer["imported_files"]) == (["linked", "setuid"], 6, 3)
    assert sorted(tree(shared.root / run)) == ["link", "link/through.txt", "meta.json"]
    assert not (shared.root / run / "link").is_symlink()
    assert stat.S_IMODE((shared.root / "p/n/runs/setuid").stat().st_mode) == 0o755

    answer = upload(shared, zip_of({"p/n/runs/zlinked/l": {"mode": 0o120777}, "p/n/runs/zlinked/f": b"x"})).json()
    assert (answer["new_run_ids"], answer["skipped_files"]) == (["zlinked"], 1)


def corrupt_gzip() -> bytes:
    archive = bytearray(tar_of(renamed("corrupt")))
    archive[len(archive) // 2] ^= 0xFF
    return bytes(archive)


def bad_crc() -> bytes:
    archive = zip_of({"p/n/runs/corrupt/f": os.urandom(5000)})
    return archive[:500] + bytes([archive[500] ^ 0xFF]) + archive[501:]


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty file"),
    "text": (b"not an archive at all", "not a zip or tar archive"),
    "long text": (b"x" * 5000, "not a zip or tar archive"),
    "gzip of text": (gzip.compress(b"x" * 5000), "not a zip or tar archive"),
    "cut tgz": (tar_of(renamed("corrupt"))[:-20], "truncated or damaged"),
    "cut tar": (tar_of(renamed("corrupt"), "w")[:1500], "truncated or damaged"),
    "flipped byte": (corrupt_gzip(), "truncated or damaged"),
    "cut zip": (zip_of(renamed("corrupt"))[:-30], "truncated or damaged"),
    "wrong checksum": (bad_crc(), "truncated or damaged"),
    "start of a zip": (b"PK\x03\x04 and nothing", "truncated or damaged"),
    "cut zstandard": (zstandard.compress(tar_of(renamed("corrupt"), "w"))[:-30], "truncated or damaged"),
    "many in a tar": (tar_of({f"p/n/runs/many/{i}": b"" for i in range(60)}), "too many members"),
    "many in a zip": (zip_of({f"p/n/runs/many/{i}": b"" for i in range(60)}), "too many members"),
    "tar bomb": (tar_of({"p/n/runs/bomb/f": bytes(9 << 20)}), "unpacked size too large"),
    "zip bomb": (zip_of({"p/n/runs/bomb/f": bytes(9 << 20)}), "unpacked size too large"),
    "zstandard bomb": (zstandard.compress(bytes(1 << 29)), "unpacked size too large"),
    "bomb behind the end": (gzip.compress(tar_of({}, "w") + bytes(16 << 20)), "unpacked size too large"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_archive_is_refused_as_a_whole(shared: Server, kind: str) -> None:
    archive, reason = UNUSABLE[kind]
    before = tree(shared.root)
    answer = upload(shared, archive)
    assert (answer.status_code, answer.json()) == (400, {"detail": f"Unsupported or corrupted archive: {reason}"})
    assert tree(shared.root) == before
    assert staged(shared.root) == []


def test_a_request_without_a_file_says_so(shared: Server) -> None:
    post = shared.http.post
    path = "/api/import/archive"
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    for answer in (
        post(path),
        post(path, json={"file": "x"}),
        post(path, content=b"x", headers={"Content-Type": "application/zip"}),
        post(path, data={"file": "text"}),
        post(path, files={"other": ("a.zip", b"x")}),
        post(
            path,
            content=b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n',
            headers=multipart,
        ),
        post(path, content=b"nonsense", headers=multipart),
        post(path, content=b"", headers=multipart),
        post(path, content=b"", headers={"Content-Type": "multipart/form-data"}),
    ):
        assert (answer.status_code, answer.json()) == (400, {"detail": "Missing required field: file"})
    assert staged(shared.root) == []


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_beyond_the_limit_is_refused(shared: Server, announced: bool) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(3 << 20) + b"\r\n--b--\r\n"
    )
    content: Any = body if announced else iter([body[i : i + 65536] for i in range(0, len(body), 65536)])
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = shared.http.post("/api/import/archive", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (413, {"detail": "Request body too large"})
    assert staged(shared.root) == []


def test_runs_do_not_go_through_a_link_out_of_the_root(shared: Server, tmp_path: Path) -> None:
    (shared.root / "escape").symlink_to(tmp_path)
    answer = upload(shared, tar_of({"escape/n/runs/outside/f": b"x", "blocked/n/runs/inside/f": b"x"})).json()
    assert (answer["new_run_ids"], answer["skipped_runs"]) == (["inside"], ["outside"])
    assert list(tmp_path.iterdir()) == []


def test_the_root_that_cannot_be_written_is_unavailable(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "readonly"
    (root / "runs").mkdir(parents=True)
    (root / ".runicorn").write_text("a file where our directory belongs")
    server = serve(root, "--state-dir", str(tmp_path / "state"))
    answer = upload(server, tar_of(FILES))
    assert (answer.status_code, answer.json()) == (503, {"detail": "Storage unavailable"})


def test_what_a_killed_server_left_is_removed_at_the_next_start(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    left = root / ".runicorn/staging/123-abc"
    left.mkdir(parents=True)
    (left / "archive").write_bytes(b"half an archive")
    serve(root)
    wait_until(lambda: not left.exists(), "the staging directory to be removed")


@pytest.mark.slow(2)
def test_a_store_makes_the_round_trip_without_loss(serve: Serve, tmp_path: Path) -> None:
    """What 0.4.0 and the SDK wrote, the recycle bin, a lost run, and any event that names a run."""
    root = tmp_path / "from"
    made = make_run(root, "a/b/runs/first", meta={"created_at": 5.25}, events=metrics_event(1.0, loss=1), status={})
    make_run(root, "a/b/runs/lost", meta={"pid": 2**22 - 1, "created_at": 7.0}, status={"status": "running"})
    make_run(root, "ü x/n/runs/eins", summary={"best_metric_value": 3.0, "best_metric_name": "m"})
    make_run(root, "runs/legacy", logs="x")
    (make_run(root, "a/b/runs/binned", meta={"created_at": 6.0}) / ".deleted").write_text(
        '{"deleted_at": 50.0, "reason": "user_deleted", "original_status": "finished"}'
    )
    os.utime(root / "runs/legacy", (1_000_000.5, 1_000_000.5))
    os.symlink("/etc/passwd", made / "link")
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    server.http.post("/api/status/check")
    bin_before = [
        dict(row) for row in server.http.get("/api/v2/experiments?include_deleted=true").json()["experiments"]
    ]
    before = server.http.get("/api/runs").json()
    assert [run["status"] for run in before if run["id"] == "lost"] == ["failed"]
    with next((root / ".runicorn/log").glob("*.jsonl")).open("a") as log:
        log.write('{"ts":9.0,"type":"run.starred","data":{"run":"a/b/runs/first","by":"somebody"}}\n')
        log.write('{"ts":9.0,"type":"run.starred","data":{"run":"a/b/runs/not-here","by":"somebody"}}\n')

    cli = [sys.executable, "-m", "runicorn"]
    archive = tmp_path / "all.tar.gz"
    subprocess.run([*cli, "export", "--storage", str(root), "--out", str(archive)], check=True)
    other = serve(tmp_path / "to", "--rate-limit", "off")
    wait_until_live(other)
    answer = upload(other, archive.read_bytes()).json()

    assert answer["skipped_files"] == 0
    expected = tree(root)
    del expected["a/b/runs/first/link"]
    assert tree(tmp_path / "to") == expected
    moved = json.loads(json.dumps(before).replace(str(root), str(tmp_path / "to")))
    assert other.http.get("/api/runs").json() == moved
    bin_after = other.http.get("/api/v2/experiments?include_deleted=true").json()["experiments"]
    text = json.dumps(bin_before).replace(str(root), str(tmp_path / "to"))
    assert bin_after == json.loads(text)
    log_text = "".join(path.read_text() for path in (tmp_path / "to/.runicorn/log").glob("*.jsonl"))
    assert '{"ts":9.0,"type":"run.starred","data":{"run":"a/b/runs/first","by":"somebody"}}' in log_text
    assert "not-here" not in log_text


def test_a_purged_run_comes_back_from_an_archive(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = make_run(root, "a/b/runs/back", meta={"created_at": 5.0}, status={"status": "failed", "ended_at": 6.0})
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(run, "a/b/runs/back")
    for path in run.iterdir():
        path.unlink()
    run.rmdir()
    wait_until(lambda: server.http.get("/api/runs").json() == [])
    assert upload(server, buffer.getvalue()).json()["new_run_ids"] == ["back"]
    listed = server.http.get("/api/runs").json()
    assert [(item["id"], item["status"], item["created_time"]) for item in listed] == [("back", "failed", 5.0)]


def test_an_archive_cannot_speak_of_runs_that_it_does_not_hold(shared: Server) -> None:
    make_run(shared.root, "v/n/runs/victim", status={"status": "finished"})
    lines = [
        '{"ts":1,"type":"archive.created","data":{"format":1,"runs":1,"version":"0.5.0"}}',
        '{"ts":4102444800,"type":"run.lost","data":{"run":"v/n/runs/victim","run_id":"victim","ended_at":5}}',
        '{"ts":4102444800,"type":"run.lost","data":{"run":"v/n/runs/carried","run_id":"carried","ended_at":5}}',
        '{"ts":1,"type":"run.lost","data":{"run":"../../x","run_id":"x","ended_at":5}}',
        "nonsense",
    ]
    files = {"runicorn.jsonl": "\n".join(lines).encode() + b"\n", "v/n/runs/carried/meta.json": b"{}"}
    answer = upload(shared, tar_of(files)).json()
    assert (answer["new_run_ids"], answer["skipped_files"]) == (["carried"], 0)
    listed = {run["id"]: run["status"] for run in shared.http.get("/api/runs").json()}
    assert (listed["victim"], listed["carried"]) == ("finished", "failed")


def test_a_zip_entry_that_lies_about_its_size_is_damage(shared: Server) -> None:
    archive = zip_of({"p/n/runs/liar/f": b"x" * 1000})
    directory = archive.rindex(b"PK\x01\x02")
    for size in (10, 100_000, 0xFFFFFFFF):
        changed = archive[: directory + 24] + size.to_bytes(4, "little") + archive[directory + 28 :]
        assert upload(shared, changed).status_code == 400
        assert not (shared.root / "p/n/runs/liar").exists()


def test_of_two_members_with_one_name_the_second_counts(shared: Server) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped = zip_of([("p/n/runs/twice-zip/f", b"one"), ("p/n/runs/twice-zip/f", b"two")])
    tarred = tar_of([("p/n/runs/twice-tar/f", b"one"), ("./p//n/runs/twice-tar/f", b"two")])
    for archive, run_id in ((zipped, "twice-zip"), (tarred, "twice-tar")):
        answer = upload(shared, archive).json()
        assert (answer["imported_files"], answer["new_run_ids"]) == (1, [run_id])
        assert (shared.root / "p/n/runs" / run_id / "f").read_bytes() == b"two"


def test_a_name_is_either_a_file_or_a_directory(shared: Server) -> None:
    entries: list[tuple[str, Any]] = [
        ("p/n/runs/clash/a", b"file"),
        ("p/n/runs/clash/a/b", b"below a file"),
        ("p/n/runs/clash/c/d", b"x"),
        ("p/n/runs/clash/c", b"file in place of a directory"),
    ]
    answer = upload(shared, tar_of(entries)).json()
    assert (answer["imported_files"], answer["skipped_files"]) == (2, 2)


def test_zip_names_with_a_nul_are_skipped(shared: Server) -> None:
    archive = zip_of({"p/n/runs/nul/aXb": b"x", "p/n/runs/nul/ok": b"x"}).replace(b"aXb", b"a\0b")
    answer = upload(shared, archive).json()
    assert (answer["imported_files"], answer["skipped_files"]) == (1, 1)
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist()


def test_of_two_imports_at_once_one_brings_the_runs(shared: Server) -> None:
    archive = tar_of({f"p/n/runs/both{i}/f": b"x" for i in range(8)})
    with ThreadPoolExecutor(4) as pool:
        answers = [answer.json() for answer in pool.map(lambda _: upload(shared, archive), range(4))]
    assert sorted(len(answer["new_run_ids"]) for answer in answers) == [0, 0, 0, 8]
    assert sum(len(answer["skipped_runs"]) for answer in answers) == 24
    assert staged(shared.root) == []


@pytest.mark.slow(3)
def test_a_server_that_is_stopped_ends_an_import_in_the_middle(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    server = serve(root, "--rate-limit", "off")
    archive = tar_of({f"p/n/runs/r{i}/f": b"x" * 100_000 for i in range(500)})
    staging = root / ".runicorn/staging"
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(upload, server, archive)
        wait_until(lambda: list(staging.glob("*/runs")) or sent.done())
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(ENDED_S)
        with contextlib.suppress(httpx.HTTPError):
            sent.result()
    assert len(list(root.glob("p/n/runs/*"))) in (0, 500)
    # There was little time to tidy up; what is left goes at the next start.
    serve(root)
    wait_until(lambda: staged(root) == [], "the staging directory to be removed")
