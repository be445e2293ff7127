"""`runicorn events export` and `import`: the log as one file, and what an import never does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from click.testing import CliRunner

from runicorn.cli import main
from tests.faults.damages import ARTIFACT, RUN, STORE, file_of, make_store
from tests.recorded import wait_until_live
from tests.serving import Server, serve
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

LINE = metrics_event(global_step=1).encode()


def events(*arguments: str | Path, storage: Path) -> tuple[int, str, str]:
    """Run the command; exit status, standard output and error."""
    done = CliRunner().invoke(main, ["events", *map(str, arguments), "--storage", str(storage)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    make_run(root, RUN, events=LINE * 3)
    make_run(root, "runs/legacy", events=LINE)
    file_of(root, STORE).parent.mkdir(parents=True)
    file_of(root, STORE).write_bytes(LINE)
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def packed(*streams: tuple[str, bytes], head: dict[str, Any] | None = None, end: bytes | None = None) -> bytes:
    """A file as `events export` writes it, or nearly."""
    lines = [msgspec.json.encode(head or {"format": "runicorn-log", "version": 1, "created_at": 1.0}), b"\n"]
    for name, content in streams:
        lines += [msgspec.json.encode({"stream": name, "bytes": len(content)}), b"\n", content]
        lines += [msgspec.json.encode({"sha256": hashlib.sha256(content).hexdigest()}), b"\n"]
    size = sum(len(content) for _, content in streams)
    lines.append(msgspec.json.encode({"streams": len(streams), "bytes": size}) + b"\n" if end is None else end)
    return zstandard.compress(b"".join(lines))


def test_the_format_is_what_the_documentation_says(store: Path, tmp_path: Path) -> None:
    status, out, _ = events("export", tmp_path / "log.zst", "--json", storage=store)
    report = json.loads(out)
    assert (status, report["streams"], report["bytes"]) == (0, 3, 5 * len(LINE))
    data = zstandard.ZstdDecompressor().stream_reader((tmp_path / "log.zst").read_bytes()).read()
    head, _, rest = data.partition(b"\n")
    assert json.loads(head)["format"] == "runicorn-log"
    for name, content in ((STORE, LINE), (RUN, LINE * 3), ("runs/legacy", LINE)):
        line, _, rest = rest.partition(b"\n")
        assert json.loads(line) == {"stream": name, "bytes": len(content)}
        assert rest.startswith(content)
        line, _, rest = rest[len(content) :].partition(b"\n")
        assert json.loads(line) == {"sha256": hashlib.sha256(content).hexdigest()}
    assert json.loads(rest) == {"streams": 3, "bytes": 5 * len(LINE)}


@pytest.mark.slow
def test_a_server_on_the_copy_answers_the_same(tmp_path: Path, serve: Callable[..., Server]) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    make_store(root)
    assert events("export", tmp_path / "log.zst", storage=root)[0] == 0
    assert events("import", tmp_path / "log.zst", storage=copy)[0] == 0
    answers: list[bytes] = []
    for one in (root, copy):
        server = serve(one)
        wait_until_live(server)
        run = RUN.rpartition("/")[2]
        answers.append(server.http.get(f"/api/runs/{run}/metrics_step").content)
        server.stop()
    assert answers[0] == answers[1]
    assert len(answers[0]) > 10_000
    assert file_of(copy, ARTIFACT).read_bytes().startswith(file_of(root, ARTIFACT).read_bytes())


def test_one_run_is_its_stream_alone(store: Path, tmp_path: Path) -> None:
    status, out, _ = events("export", tmp_path / "one.zst", "--run", RUN.rpartition("/")[2], "--json", storage=store)
    assert (status, json.loads(out)["streams"]) == (0, 1)
    assert events("import", tmp_path / "one.zst", storage=tmp_path / "copy")[0] == 0
    assert file_of(tmp_path / "copy", RUN).read_bytes() == LINE * 3
    assert events("export", tmp_path / "none.zst", "--run", "nope", storage=store)[0] == 1


def test_existing_files_are_not_replaced_by_an_export(store: Path, tmp_path: Path) -> None:
    (tmp_path / "log.zst").write_bytes(b"mine")
    status, _, said = events("export", tmp_path / "log.zst", storage=store)
    assert (status, (tmp_path / "log.zst").read_bytes()) == (1, b"mine")
    assert "exists already" in said


def test_a_dry_run_writes_nothing(store: Path, tmp_path: Path) -> None:
    events("export", tmp_path / "log.zst", storage=store)
    status, out, _ = events("import", tmp_path / "log.zst", "--dry-run", "--json", storage=tmp_path / "copy")
    assert (status, json.loads(out)["bytes"]) == (0, 5 * len(LINE))
    assert not (tmp_path / "copy").exists()


def test_a_conflict_is_named_and_nothing_at_all_is_imported(store: Path, tmp_path: Path) -> None:
    events("export", tmp_path / "log.zst", storage=store)
    copy = tmp_path / "copy"
    make_run(copy, RUN, events=LINE + metrics_event(global_step=7).encode())
    before = tree(copy)
    status, out, said = events("import", tmp_path / "log.zst", storage=copy)
    assert status == 1
    assert f"These say something else here:\n  {RUN}" in said
    assert "Nothing was imported." in out
    assert {path: data for path, data in tree(copy).items() if not path.startswith(".runicorn/")} == before


def test_a_stream_that_holds_more_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    events("export", tmp_path / "log.zst", storage=store)
    with file_of(store, RUN).open("ab") as file:
        file.write(LINE)
    before = tree(store)
    status, out, _ = events("import", tmp_path / "log.zst", "--json", storage=store)
    done = json.loads(out)
    assert (status, done["longer"], done["bytes"]) == (0, [RUN], 0)
    assert {path: data for path, data in tree(store).items() if path in before} == before


BAD = ["../out", "p/n/runs/../../../../out", "/etc/cron.d", "p/n/runs/a/../b", ".hidden/n/runs/a", "runs/a\0b", "runs",
       "artifacts/x", ".runicorn/state/x", ".runicorn/log/../../x", "@state/log/x", ".mirrors/a/tree/p/n/runs/a"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_none_of_a_stream_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.zst").write_bytes(packed(("p/n/runs/good", LINE), (name, LINE)))
    status, out, said = events("import", tmp_path / "log.zst", "--json", storage=tmp_path / "copy")
    assert (status, json.loads(out)["refused"]) == (1, [name]), said
    assert not list((tmp_path / "copy").rglob("events.jsonl"))
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "log.zst"}


def test_nothing_outside_of_the_root_is_written_through_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "p").symlink_to(outside)
    make_run(copy, "q/n/runs/a")
    (copy / "q/n/runs/a/events.jsonl").symlink_to(outside / "there")
    (outside / "there").write_bytes(b"")
    (tmp_path / "log.zst").write_bytes(packed(("p/n/runs/a", LINE), ("q/n/runs/a", LINE)))
    status, out, _ = events("import", tmp_path / "log.zst", "--json", storage=copy)
    assert (status, json.loads(out)["conflicts"]) == (1, ["p/n/runs/a", "q/n/runs/a"])
    assert tree(outside) == {"there": b""}


@pytest.mark.parametrize("place", ["p", "p/n/runs", "p/n/runs/a/events.jsonl/deeper"])
def test_what_lies_in_a_streams_place_is_a_conflict(tmp_path: Path, place: str) -> None:
    path = tmp_path / "copy" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    (tmp_path / "log.zst").write_bytes(packed(("p/n/runs/a", LINE)))
    status, out, _ = events("import", tmp_path / "log.zst", "--json", storage=tmp_path / "copy")
    assert (status, json.loads(out)["conflicts"]) == (1, ["p/n/runs/a"])
    assert path.read_bytes() == b"mine"


GOOD = ("p/n/runs/a", LINE)
DAMAGED = {
    "nothing": (b"", "empty file"),
    "no zstandard": (b"nonsense", "not an exported log"),
    "no log": (zstandard.compress(b"nonsense\n"), "not an exported log"),
    "another version": (
        packed(GOOD, head={"format": "runicorn-log", "version": 9, "created_at": 1.0}),
        "not an exported",
    ),
    "without its end": (packed(GOOD, end=b""), "truncated or damaged"),
    "with another end": (packed(GOOD, end=b'{"streams": 2, "bytes": 5}\n'), "truncated or damaged"),
    "with something behind": (packed(GOOD, end=b'{"streams": 1, "bytes": 99}\nmore'), "truncated or damaged"),
    "cut off": (packed(("p/n/runs/a", os.urandom(100_000)))[:-50_000], "truncated or damaged"),
    "a stream twice": (packed(GOOD, GOOD), "truncated or damaged"),
    "another content": (
        zstandard.compress(zstandard.decompress(packed(GOOD)).replace(b'"global_step": 1', b'"global_step": 2')),
        "truncated or damaged",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_imports_nothing(tmp_path: Path, case: str) -> None:
    data, reason = DAMAGED[case]
    (tmp_path / "log.zst").write_bytes(data)
    status, _, said = events("import", tmp_path / "log.zst", storage=tmp_path / "copy")
    assert status == 1
    assert reason in said
    assert not list((tmp_path / "copy").rglob("*.jsonl"))


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.zst").write_bytes(packed(("p/n/runs/a", b"\n" * 1_000_000)))
    monkeypatch.setenv("RUNICORN_IMPORT_UNPACKED_BYTES", "1000")
    status, _, said = events("import", tmp_path / "log.zst", storage=tmp_path / "copy")
    assert (status, "unpacked size too large" in said) == (1, True)
    assert not list((tmp_path / "copy").rglob("*.jsonl"))
