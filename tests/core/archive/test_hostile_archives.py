"""Whatever an archive holds, nothing but new run folders appears, and it ends in an answer."""

from __future__ import annotations

import io
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.archive import Limits, UnusableArchive, import_archive, staging_directory
from tests.archives import tar_of, tree, zip_of

LIMITS = Limits(members=200, unpacked_bytes=1 << 20)
OWN_DIRECTORIES = {".runicorn"}

segments = st.one_of(
    st.sampled_from(
        [
            *(
                "p",
                "n",
                "runs",
                "a",
                "b",
                "..",
                ".",
                "",
                "x",
                "kept",
                "meta.json",
                "events.jsonl",
                ".deleted",
                "x.lock",
            ),
            *(".runicorn", "artifacts", "webui", "root-evil", "C:", "link", "a\\b", "\x00", "\n", "ü", "RUNS", " "),
        ]
    ),
    st.text(max_size=6),
    st.just("l" * 300),
)
names = st.one_of(
    st.lists(segments, min_size=1, max_size=8).map("/".join),
    st.builds(lambda path: f"p/n/runs/a/{path}", st.lists(segments, min_size=1, max_size=4).map("/".join)),
    st.builds(lambda path: f"/{path}", st.lists(segments, min_size=1, max_size=4).map("/".join)),
)
tar_fields = st.one_of(
    st.binary(max_size=50),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
            ),
            "linkname": st.sampled_from(["..", "/etc/passwd", "p", "../../../root-evil", "a"]),
            "mode": st.sampled_from([0o644, 0o7777, 0]),
        }
    ),
    st.fixed_dictionaries(
        {
            "pax_headers": st.dictionaries(
                st.sampled_from(["path", "size", "GNU.sparse.major", "mtime"]), names, max_size=2
            )
        }
    ),
)
zip_fields = st.one_of(
    st.binary(max_size=50),
    st.fixed_dictionaries({"mode": st.sampled_from([0o120777, 0o100644, 0o20644, 0o10644, 0o40755, 0o7777])}),
)


def store(directory: Path) -> Path:
    """A root with a run, beside a directory whose name begins like the root's, and a link that leads there."""
    root = directory / "root"
    (root / "p/n/runs/kept").mkdir(parents=True)
    (root / "p/n/runs/kept/meta.json").write_text("{}")
    (directory / "root-evil").mkdir()
    (root / "link").symlink_to(directory / "root-evil")
    return root


def check(archive: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = store(Path(temporary))
        before = tree(Path(temporary))
        try:
            with staging_directory(root) as staging:
                done = import_archive(root, root / ".runicorn/state", io.BytesIO(archive), staging, limits=LIMITS)
        except UnusableArchive:
            assert tree(Path(temporary)) == before
            return
        after = tree(Path(temporary))
        assert {name: after.get(name) for name in before} == before
        allowed = [f"root/{key}" for key in done.runs]
        for name in set(after) - set(before):
            inside = any(name == run or name.startswith(f"{run}/") or run.startswith(f"{name}/") for run in allowed)
            assert inside, name
        files = {name for name in set(after) - set(before) if after[name] is not None}
        assert len(files) == done.files
        for path in Path(temporary).rglob("*"):
            assert not path.is_symlink() or path == root / "link"
        assert [entry.name for entry in (root / ".runicorn/staging").iterdir() if entry.is_dir()] == []


def encodable(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name.replace("\ud800", ""), entry) for name, entry in entries]


@settings(max_examples=150)
@given(st.lists(st.tuples(names, tar_fields), max_size=8), st.sampled_from(["w", "w:gz"]))
def test_no_tar_archive_reaches_beyond_new_runs(entries: list[tuple[str, Any]], mode: str) -> None:
    check(tar_of(encodable(entries), mode))


@settings(max_examples=150)
@given(st.lists(st.tuples(names.filter(bool), zip_fields), max_size=8))
def test_no_zip_archive_reaches_beyond_new_runs(entries: list[tuple[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of duplicate names, which are the point
        archive = zip_of(encodable(entries))
    check(archive)


FILES: dict[str, Any] = {"p/n/runs/a/meta.json": b"{}" * 40, "runs/b/events.jsonl": bytes(range(256)) * 5}
GOOD = [tar_of(FILES, "w"), tar_of(FILES), zip_of(FILES)]


@settings(max_examples=300)
@given(st.data())
def test_no_damaged_archive_reaches_beyond_new_runs(data: st.DataObject) -> None:
    archive = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(archive) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                archive[position] = data.draw(st.integers(0, 255))
            case "cut":
                del archive[position : position + data.draw(st.integers(1, 600))]
            case _:
                archive[position:position] = data.draw(st.binary(max_size=20))
        if not archive:
            break
    check(bytes(archive))


@settings(max_examples=200)
@given(
    st.binary(max_size=2000), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
)
def test_bytes_of_any_kind_end_in_an_answer(content: bytes, start: bytes) -> None:
    check(start + content)


def header(name: bytes, kind: bytes, size: bytes) -> bytes:
    """One tar header with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:263] = b"ustar\0"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "archive",
    [
        header(b"p/n/runs/a/f", b"0", b"77777777777") + b"x" * 512,
        header(b"p/n/runs/a/f", b"0", b"\x80" + b"\xff" * 11) + b"x" * 512,
        header(b"p/n/runs/a/f", b"0", b"\xff" * 12) + bytes(1024),
        header(b"x", b"x", b"77777777777") + b"x" * 512,
        header(b"x", b"L", b"00004000000") + b"p" * (1 << 20) + bytes(1024),
        header(b"x", b"x", b"00000000020") + b"16 size=-1\n".ljust(512, b"\0") + header(b"f", b"0", b"0") + bytes(1024),
        header(b"x", b"x", b"00000000020") + b"99999999 path=a".ljust(512, b"\0") + bytes(1024),
        header(b"x", b"x", b"00000000020") * 3000,
        header(b"x", b"S", b"00000000020") + b"\1" * 4096,
        header(b"p/n/runs/a/f", b"0", b"00000000001") + bytes(512) + b"no header here".ljust(512) + bytes(1024),
    ],
)
def test_headers_that_lie_are_damage(archive: bytes, tmp_path: Path) -> None:
    root = store(tmp_path)
    with staging_directory(root) as staging, pytest.raises(UnusableArchive, match=r"damaged|too many|too large"):
        import_archive(root, root / ".runicorn/state", io.BytesIO(archive), staging, limits=LIMITS)


def test_sparse_members_are_skipped_and_what_follows_is_read(tmp_path: Path) -> None:
    root = store(tmp_path)
    sparse = tarfile.TarInfo("p/n/runs/a/sparse")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "../../../../x"}
    archive = tar_of([("p/n/runs/a/sparse", {"pax_headers": sparse.pax_headers}), ("p/n/runs/a/f", b"x")])
    old = header(b"p/n/runs/b/s", b"S", b"00000000005") + b"data!".ljust(512, b"\0")
    for content in (archive, old + header(b"p/n/runs/b/f", b"0", b"0") + bytes(1024)):
        with staging_directory(root) as staging:
            done = import_archive(root, root / ".runicorn/state", io.BytesIO(content), staging, limits=LIMITS)
        assert (done.files, done.skipped_files) == (1, 1)


def test_a_directory_of_a_zip_is_counted_before_it_is_read(tmp_path: Path) -> None:
    root = store(tmp_path)
    entry = b"PK\x01\x02" + bytes(42)
    entries = entry * 10_000
    end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00" + len(entries).to_bytes(4, "little") + bytes(6)
    with staging_directory(root) as staging, pytest.raises(UnusableArchive, match="too many members"):
        import_archive(
            root, root / ".runicorn/state", io.BytesIO(b"PK\x03\x04" + entries + end), staging, limits=LIMITS
        )


def test_our_reader_reads_what_the_libraries_write(tmp_path: Path) -> None:
    """Long names, large sizes, all tar formats; and back through the standard library."""
    long = "p/n/runs/a/" + "/".join(["d" * 90] * 4) + "/f"
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        root = tmp_path / f"root{kind}"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for name in (long, "p/n/runs/a/ünï", "p/n/runs/a/empty"):
                info = tarfile.TarInfo(name)
                info.size = 3 if name != "p/n/runs/a/empty" else 0
                archive.addfile(info, io.BytesIO(b"abc"))
        buffer.seek(0)
        with staging_directory(root) as staging:
            done = import_archive(root, tmp_path / "state", buffer, staging, limits=Limits())
        assert (done.files, done.skipped_files) == (3, 0)
        assert (root / long).read_bytes() == b"abc"
        assert (root / "p/n/runs/a/empty").read_bytes() == b""


def test_zip64_archives_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("p/n/runs/a/f", "w", force_zip64=True) as file:
        file.write(b"x" * 1000)
    with staging_directory(tmp_path / "root") as staging:
        done = import_archive(tmp_path / "root", tmp_path / "state", buffer, staging, limits=Limits())
    assert done.files == 1
