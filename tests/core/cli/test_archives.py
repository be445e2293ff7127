"""`runicorn export`, `import` and `export-data`, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import commands
from tests.archives import tar_of, tree
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    make_run(root, "p/n/runs/a", meta={"id": "a", "project": "p", "name": "n"}, events=metrics_event(loss=0.5))
    make_run(root, "p/m/runs/b", meta={}).joinpath(".deleted").write_text("{}")
    make_run(root, "runs/old", meta={})
    return root


def runicorn(*arguments: str, directory: Path, status: int = 0) -> tuple[str, str]:
    """What a command prints to its two outputs; never a traceback."""
    done = commands.runicorn(*arguments, directory=directory)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_a_store_is_exported_and_imported(root: Path, tmp_path: Path) -> None:
    out, err = runicorn("export", "--storage", str(root), "--out", "all.tgz", directory=tmp_path)
    assert (out, err) == ("Exporting 3 run(s) to all.tgz ...\nDone.\n", "")
    other = tmp_path / "other"
    out, err = runicorn("import", "--storage", str(other), "--archive", "all.tgz", directory=tmp_path)
    assert (out, err) == (f"Imported 5 files into {other}\n", "")
    assert tree(other) == tree(root)
    out, _ = runicorn("import", "--storage", str(other), "--archive", "all.tgz", directory=tmp_path)
    assert out.splitlines()[0] == f"Imported 0 files into {other}"
    assert [line.split(":")[0] for line in out.splitlines()[1:]] == [
        f"Skipped run {name}" for name in ("a", "b", "old")
    ]


@pytest.mark.parametrize("suffix", ["tar.gz", "zip", "tar.zst"])
def test_the_default_name_tells_the_format(root: Path, tmp_path: Path, suffix: str) -> None:
    out, _ = runicorn("export", "--storage", str(root), "--format", suffix, "--project", "p", directory=tmp_path)
    (path,) = tmp_path.glob(f"runicorn_export_*.{suffix}")
    assert out == f"Exporting 2 run(s) to {path.name} ...\nDone.\n"


def test_the_name_of_the_archive_chooses_the_format(root: Path, tmp_path: Path) -> None:
    for name, start in (("a.zip", b"PK"), ("a.tar.zst", b"\x28\xb5\x2f\xfd"), ("a", b"\x1f\x8b")):
        runicorn("export", "--storage", str(root), "--out", name, directory=tmp_path)
        assert (tmp_path / name).read_bytes().startswith(start)


def test_nothing_to_export_is_no_error(root: Path, tmp_path: Path) -> None:
    out, _ = runicorn("export", "--storage", str(root), "--project", "x", "--out", "x.tgz", directory=tmp_path)
    assert out == "No runs matched the given filters. Nothing to export.\n"
    assert not (tmp_path / "x.tgz").exists()


def test_programs_get_json(root: Path, tmp_path: Path) -> None:
    make_run(root, "p/n/runs/odd\\name")
    out, _ = runicorn("export", "--storage", str(root), "--out", "a.zip", "--json", directory=tmp_path)
    report = json.loads(out)
    assert (report["runs"], report["files"], report["not_importable"]) == (4, 5, ["p/n/runs/odd\\name"])
    out, _ = runicorn("import", "--archive", "a.zip", "--storage", "new", "--json", "--dry-run", directory=tmp_path)
    assert json.loads(out) == {
        "imported_files": 5,
        "new_runs": ["p/m/runs/b", "p/n/runs/a", "runs/old"],
        "replaced_runs": [],
        "skipped_runs": [],
        "skipped_files": 1,
        "dry_run": True,
    }
    assert not (tmp_path / "new").exists()


def test_runs_with_names_that_an_import_refuses_are_named(root: Path, tmp_path: Path) -> None:
    make_run(root, "p/n/runs/odd\\name")
    _, err = runicorn("export", "--storage", str(root), "--out", "a.zip", directory=tmp_path)
    assert err == "Note: an import leaves out 'p/n/runs/odd\\\\name', because of its name.\n"


def test_files_with_names_that_an_import_refuses_are_named(root: Path, tmp_path: Path) -> None:
    media = root / "p/n/runs/a/media"
    deep = media / "/".join(["d"] * 62)
    for directory in (deep, media / "tab\there"):
        directory.mkdir(parents=True)
    for path in (media / "a\\b", media / "fine", media / "tab\there/inside", deep / "file"):
        path.write_text("x")
    _, err = runicorn("export", "--storage", str(root), "--out", "a.zip", directory=tmp_path)
    refused = ["p/n/runs/a/media/a\\b", "p/n/runs/a/media" + "/d" * 59, "p/n/runs/a/media/tab\there"]
    assert sorted(err.splitlines()) == sorted(
        f"Note: an import leaves out {path!r}, because of its name." for path in refused
    )
    out, _ = runicorn("export", "--storage", str(root), "--out", "a.tgz", "--json", directory=tmp_path)
    assert sorted(json.loads(out)["not_importable"]) == sorted(refused)
    out, _ = runicorn("import", "--archive", "a.tgz", "--storage", "new", "--json", directory=tmp_path)
    assert json.loads(out)["skipped_files"] == 8  # the three, and what is below them
    taken = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("media/*")}
    assert "p/n/runs/a/media/fine" in taken
    assert not taken.intersection(refused)


def test_failures_are_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tgz").write_bytes(b"bad")
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    store = ["--storage", str(root)]
    for arguments, message in (
        (["import", *store, "--archive", "none.tgz"], "Archive not found: none.tgz\n"),
        (["import", *store, "--archive", "bad.tgz"], "Import failed: not a zip or tar archive\n"),
        (["import", *store, "--archive", "file"], "Import failed: empty file\n"),
        (["import", *store, "--archive", "pipe"], "Import failed: not a regular file\n"),
        (["import", "--storage", "file/root", "--archive", "bad.tgz"], None),
        (["export", *store, "--out", "no/such/place.tgz"], "Export failed: No such file or directory\n"),
        (["export-data", *store, "--run-id", "x"], "Run x not found\n"),
        (["export-data", *store, "--run-id", "old"], "No metrics to export\n"),
        (["export-data", *store, "--run-id", "old", "--format", "excel"], "No metrics to export\n"),
        (
            ["export-data", *store, "--run-id", "a", "--output", "no/such.csv"],
            "Export failed: No such file or directory\n",
        ),
    ):
        _, err = runicorn(*arguments, directory=tmp_path, status=1)
        assert err == (message or f"{err.splitlines()[0]}\n")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    runicorn("import", directory=tmp_path, status=2)
    runicorn("export", "--format", "rar", directory=tmp_path, status=2)


def test_data_goes_to_standard_output_or_to_a_file(root: Path, tmp_path: Path) -> None:
    store = ["--storage", str(root), "--run-id", "a"]
    out, err = runicorn("export-data", *store, directory=tmp_path)
    assert out.endswith("# Run ID: a\n#\nloss\r\n0.5\r\n")
    assert err == ""
    for arguments, printed, name in (
        (["--output", "m.csv"], "Exported to m.csv\n", "m.csv"),
        (["--format", "excel"], "Exported to a_metrics.xlsx\n", "a_metrics.xlsx"),
        (["--format", "markdown"], "Report generated: a_report.markdown\n", "a_report.markdown"),
        (["--format", "html", "--output", "r.html"], "Report generated: r.html\n", "r.html"),
    ):
        assert runicorn("export-data", *store, *arguments, directory=tmp_path) == (printed, "")
        assert (tmp_path / name).stat().st_size > 0
    assert b"\r\n0.5\r\n" in (tmp_path / "m.csv").read_bytes()


def test_a_deleted_run_can_be_exported_and_a_listed_one_comes_first(root: Path, tmp_path: Path) -> None:
    make_run(root, "a/a/runs/same", events=metrics_event(v=1)).joinpath(".deleted").write_text("{}")
    store = ["--storage", str(root), "--run-id", "same"]
    assert runicorn("export-data", *store, directory=tmp_path)[0].endswith("v\r\n1\r\n")
    make_run(root, "z/z/runs/same", events=metrics_event(v=2))
    assert runicorn("export-data", *store, directory=tmp_path)[0].endswith("v\r\n2\r\n")


def test_a_reader_that_has_enough_is_no_error_to_report(root: Path, tmp_path: Path) -> None:
    make_run(root, "p/n/runs/long", events="".join(metrics_event(step=i) for i in range(50_000)))
    command = [sys.executable, "-m", "runicorn", "export-data", "--storage", str(root), "--run-id", "long"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_a_running_server_shows_what_the_command_imports(
    serve: Callable[..., Server], root: Path, tmp_path: Path
) -> None:
    server = serve(tmp_path / "served", "--rate-limit", "off")
    wait_until_live(server)
    (tmp_path / "a.tgz").write_bytes(tar_of({"p/n/runs/new/meta.json": b"{}"}))
    runicorn("import", "--storage", str(tmp_path / "served"), "--archive", "a.tgz", directory=tmp_path)
    wait_until(lambda: [run["id"] for run in server.http.get("/api/runs").json()] == ["new"])


KILLED = """
import sys
from pathlib import Path
from runicorn.archive import staging_directory
with staging_directory(Path(sys.argv[1])) as staging:
    (staging / "archive").write_bytes(b"half an archive")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_import_left_is_removed_by_the_next_one(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(root)]
    (tmp_path / "none.tgz").write_bytes(tar_of({}))
    staging = root / ".runicorn/staging"

    def left() -> list[Path]:
        return [path for path in staging.iterdir() if path.is_dir()]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        runicorn("import", "--storage", str(root), "--archive", "none.tgz", directory=tmp_path)
        assert len(left()) == 1  # in use
        process.send_signal(signal.SIGKILL)
    runicorn("import", "--storage", str(root), "--archive", "none.tgz", directory=tmp_path)
    assert left() == []


@pytest.mark.parametrize("suffix", ["tar.gz", "zip", "tar.zst"])
def test_a_file_name_that_is_no_text_is_named_and_stops_nothing(root: Path, tmp_path: Path, suffix: str) -> None:
    media = root / "p/n/runs/a/media"
    media.mkdir()
    (media / os.fsdecode(b"b\xff.png")).write_text("x")
    (media / "c.png").write_text("x")
    out, _ = runicorn("export", "--storage", str(root), "--out", f"all.{suffix}", "--json", directory=tmp_path)
    assert json.loads(out)["not_importable"] == ["p/n/runs/a/media/b\N{REPLACEMENT CHARACTER}.png"]
    _, err = runicorn("export", "--storage", str(root), "--out", f"again.{suffix}", directory=tmp_path)
    assert err == "Note: an import leaves out 'p/n/runs/a/media/b\\udcff.png', because of its name.\n"
    runicorn("import", "--archive", f"all.{suffix}", "--storage", "new", "--json", directory=tmp_path)
    assert [path.name for path in (tmp_path / "new/p/n/runs/a/media").iterdir()] == ["c.png"]
