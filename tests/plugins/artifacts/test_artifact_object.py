"""`Artifact`, and how runs log and use it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runicorn as rn
from runicorn.artifacts import ArtifactStorage
from tests.plugins.artifacts.conftest import Make, Save


@pytest.fixture
def run(root: Path) -> rn.Run:
    return rn.init("vision", name="resnet", storage=root, capture_env=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Artifact name must be a non-empty string"),
        (None, "Artifact name must be a non-empty string"),
        ("a/b", "Artifact name contains invalid characters: a/b"),
        ("a:b", "Artifact name contains invalid characters: a:b"),
        ("..", "Artifact name contains invalid characters: .."),
        (".a", "Artifact name contains invalid characters: .a"),
        ("a\nb", "Artifact name contains invalid characters: a\nb"),
        ("é" * 65, "Artifact name is too long: 130 bytes (limit 128)"),
    ],
)
def test_illegal_names_and_types_are_refused(name: Any, text: str) -> None:
    for arguments, expected in (((name,), text), (("ok", name), text.replace("name", "type", 1))):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
            rn.Artifact(*arguments)
        assert str(caught.value) == expected


def test_the_type_is_a_plain_string() -> None:
    assert [rn.Artifact("a", given).type for given in (rn.ArtifactType.CODE, "code", "mine")] == [
        "code",
        "code",
        "mine",
    ]
    assert f"{rn.ArtifactType.MODEL}" == rn.Artifact("a").type == "model"


def test_metadata_is_copied() -> None:
    given = {"a": 1}
    artifact = rn.Artifact("a", metadata=given).add_metadata({"b": 2})
    assert (given, artifact.metadata) == ({"a": 1}, {"a": 1, "b": 2})


def test_staging_tells_what_is_wrong_with_a_path(make: Make) -> None:
    file = make()
    missing = file.parent / "none"
    artifact = rn.Artifact("a")
    with pytest.raises(FileNotFoundError, match=f"^File not found: {missing}$"):
        artifact.add_file(missing)
    with pytest.raises(ValueError, match=r"^Not a file \(use add_dir for directories\): "):
        artifact.add_file(file.parent)
    with pytest.raises(FileNotFoundError, match=f"^Directory not found: {missing}$"):
        artifact.add_dir(missing)
    with pytest.raises(ValueError, match=f"^Not a directory: {file}$"):
        artifact.add_dir(file)


def test_a_directory_is_staged_sorted_with_hidden_files_and_without_linked_directories(make: Make) -> None:
    top = make("top/b.txt").parent
    make("top/.hidden"), make("top/a/x.log"), make("top/a/.git/config")
    (top / "link.txt").symlink_to(top / "b.txt")
    (top / "loop").symlink_to(top)
    staged = rn.Artifact("a").add_dir(top, "data", exclude_patterns=["*.log"])._staged_files
    assert [name for _, name in staged] == ["data/.hidden", "data/a/.git/config", "data/b.txt", "data/link.txt"]
    assert [name for _, name in rn.Artifact("a").add_dir(top)._staged_files][:2] == [".hidden", "a/.git/config"]
    (top / "empty").mkdir()
    assert rn.Artifact("a").add_dir(top / "empty")._staged_files == []


def test_a_path_is_staged_once(make: Make) -> None:
    first, second = make("1/w"), make("2/w")
    assert rn.Artifact("a").add_file(first).add_file(second)._staged_files == [(first, "w")]


def test_tags_are_kept_in_order_and_once() -> None:
    assert rn.Artifact("a").add_tags("b", "a", "b", "", 5, None)._tags == ["b", "a"]


def test_an_artifact_knows_its_state(run: rn.Run, make: Make) -> None:
    artifact = rn.Artifact("net").add_file(make())
    assert (str(artifact), repr(artifact)) == ("net:unstaged", "<Artifact net type=model (unstaged)>")
    assert (artifact.version, artifact.is_loaded, artifact.get_metadata(), artifact.get_manifest()) == (
        None, False, None, None,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=r"^Artifact net is not loaded$"):
        artifact.get_file_path("x")
    with pytest.raises(RuntimeError, match=r"^Artifact net is not loaded. Use run.use_artifact\(\) first.$"):
        artifact.download()
    assert run.log_artifact(artifact) == 1
    assert (str(artifact), repr(artifact), artifact.is_loaded) == ("net:v1", "<Artifact net:v1 type=model>", True)


def test_a_run_notes_what_it_logs_and_uses(run: rn.Run, make: Make) -> None:
    run.log_artifact(rn.Artifact("net").add_file(make(content="abc")).add_reference("s3://x", size=10))
    used = run.use_artifact("net:latest")
    run.use_artifact("model/net:v1")
    created = json.loads((run.run_dir / "artifacts_created.json").read_text())["artifacts"]
    metadata = used.get_metadata()
    assert metadata is not None
    assert created == [
        {"name": "net", "type": "model", "version": 1, "created_at": metadata.created_at, "size_bytes": 3,
         "num_files": 1, "num_references": 1}
    ]  # fmt: skip
    [entry] = json.loads((run.run_dir / "artifacts_used.json").read_text())["artifacts"]
    used_at = entry.pop("used_at")
    assert entry == {"name": "net", "type": "model", "version": 1, "size_bytes": 3, "num_files": 1}
    events = [json.loads(line) for line in (run.run_dir / "events.jsonl").read_text().splitlines()]
    assert [(event["type"], event["data"]) for event in events if event["type"].startswith("artifact.")] == [
        ("artifact.logged", created[0]),
        ("artifact.used", {**entry, "used_at": used_at}),
    ]


def test_logging_works_after_the_end_of_the_run(run: rn.Run, make: Make) -> None:
    run.finish()
    assert run.log_artifact(rn.Artifact("net").add_file(make())) == 1


def test_a_damaged_list_of_the_run_is_put_aside(run: rn.Run, make: Make) -> None:
    (run.run_dir / "artifacts_created.json").write_text("{")
    run.log_artifact(rn.Artifact("net").add_file(make()))
    assert (run.run_dir / "artifacts_created.json.corrupt").read_text() == "{"
    assert len(json.loads((run.run_dir / "artifacts_created.json").read_text())["artifacts"]) == 1


def test_module_functions_take_paths(run: rn.Run, make: Make) -> None:
    folder = make("data/train/a.csv").parent.parent
    make("data/b.csv")
    assert rn.log_artifact(folder, name="table", type="dataset", description="rows", metadata={"n": 2}) == 1
    assert rn.log_artifact(make("net.pt")) == 1
    used = rn.use_artifact("table:v1")
    manifest = used.get_manifest()
    assert manifest is not None
    assert [file.path for file in manifest.files] == ["b.csv", "train/a.csv"]
    assert (used.type, used.description, used.metadata) == ("dataset", "rows", {"n": 2})
    assert rn.use_artifact("net.pt:latest").type == "model"


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("net", ValueError, "Artifact spec must be in format 'name:version' or 'name:alias', got: net"),
        ("net:", ValueError, "Artifact spec must be in format 'name:version' or 'name:alias', got: net:"),
        (":v1", ValueError, "Artifact spec must be in format 'name:version' or 'name:alias', got: :v1"),
        ("net:v0", ValueError, "Invalid version format: v0"),
        ("net:v-1", ValueError, "Invalid version format: v-1"),
        ("net:vx", ValueError, "Invalid version format: vx"),
        ("net:v", ValueError, "Invalid version format: v"),
        ("net:Latest", ValueError, "Alias not found: Latest for artifact net. Available aliases: ['latest']"),
        ("no:v1", FileNotFoundError, "Artifact not found: no"),
        ("dataset/net:v1", FileNotFoundError, "Artifact not found: net (type=dataset)"),
        ("../net:v1", FileNotFoundError, "Artifact not found: net (type=..)"),
        ("net:v9", FileNotFoundError, "Version not found: net:v9"),
        ("bare:v1", FileNotFoundError, "Metadata not found for bare:v1"),
        (5, ValueError, "Artifact spec must be in format 'name:version' or 'name:alias', got: 5"),
    ],
)
def test_what_cannot_be_used_is_told(
    run: rn.Run, root: Path, save: Save, spec: str, error: type[Exception], text: str
) -> None:
    save()
    save(name="bare")
    (root / "artifacts/model/bare/v1/metadata.json").unlink()
    with pytest.raises(error) as caught:
        run.use_artifact(spec)
    assert str(caught.value) == text
    assert not (run.run_dir / "artifacts_used.json").exists()


def test_damaged_metadata_is_told_and_a_missing_manifest_is_empty(run: rn.Run, root: Path, save: Save) -> None:
    save(), save()
    (root / "artifacts/model/net/v1/metadata.json").write_text("{")
    with pytest.raises(ValueError, match=r"^Invalid metadata JSON for net:v1: "):
        run.use_artifact("net:v1")
    (root / "artifacts/model/net/v2/manifest.json").unlink()
    manifest = run.use_artifact("net:v2").get_manifest()
    assert manifest is not None
    assert (manifest.files, manifest.total_files) == ([], 0)


def test_a_version_whose_manifest_was_tampered_with_is_not_used(run: rn.Run, root: Path, save: Save) -> None:
    save()
    manifest = root / "artifacts/model/net/v1/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"total_files": 1', b'"total_files": 2'))
    with pytest.raises(FileNotFoundError, match=r"^Manifest of net:v1 is missing or damaged$"):
        run.use_artifact("net:v1")
    assert not (run.run_dir / "artifacts_used.json").exists()
    manifest.write_text("{")
    with pytest.raises(FileNotFoundError, match=r"^Manifest of net:v1 is missing or damaged$"):
        run.use_artifact("net:latest")


def test_a_deleted_version_loads_by_number_with_a_warning(
    run: rn.Run, storage: ArtifactStorage, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    save()
    storage.delete_artifact_version("net", "model", 1)
    with caplog.at_level(logging.WARNING):
        metadata = run.use_artifact("net:V1").get_metadata()
    assert metadata is not None
    assert metadata.status == "deleted"
    assert "net:v1 is deleted" in caplog.text


def test_aliases_that_begin_with_v_are_found(run: rn.Run, root: Path, save: Save) -> None:
    save()
    index = json.loads((root / "artifacts/model/net/versions.json").read_text())
    index["aliases"]["valid"] = 1
    (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
    assert run.use_artifact("net:valid").version == 1


def test_types_are_searched_in_order_and_empty_folders_do_not_count(run: rn.Run, root: Path, save: Save) -> None:
    (root / "artifacts/model/net").mkdir(parents=True)
    save(type="zoo"), save(type="code")
    assert run.use_artifact("net:v1").type == "code"
    assert run.use_artifact("zoo/net:v1").type == "zoo"
    run.artifact_storage.delete_artifact_version("net", "code", 1)
    assert run.use_artifact("net:v1").type == "zoo"


def test_downloads_are_writable_copies(run: rn.Run, make: Make, tmp_path: Path) -> None:
    source = make("deep/w.bin", "content")
    os.utime(source, (1000.0, 1000.0))
    artifact = rn.Artifact("net").add_dir(source.parent.parent)
    run.log_artifact(artifact)
    target = tmp_path / "target"
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "w.bin").write_text("old")
    (target / "extra").write_text("kept")
    assert artifact.download(target) == target
    copy = target / "deep" / "w.bin"
    assert (copy.read_text(), copy.stat().st_mtime, copy.stat().st_nlink) == ("content", 1000.0, 1)
    copy.write_text("changed")
    assert (target / "extra").read_text() == "kept"
    stored = artifact.get_file_path("deep/w.bin")
    assert stored is not None
    assert stored.read_text() == "content"


def test_a_temporary_download_goes_with_the_process(root: Path, save: Save) -> None:
    save()
    code = "import sys; from runicorn.artifacts import *; s = create_artifact_storage(sys.argv[1]);"
    code += "print(s.download_artifact('net', 'model', 1))"
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    assert path.name.startswith("runicorn_net_v1_")
    assert not path.exists()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a/.."])
def test_paths_out_of_the_version_are_refused(run: rn.Run, make: Make, path: str) -> None:
    artifact = rn.Artifact("net").add_file(make())
    run.log_artifact(artifact)
    with pytest.raises(ValueError, match=r"^Invalid file path \(path traversal detected\): "):
        artifact.get_file_path(path)
    assert artifact.get_file_path("unknown") is None


def test_importing_runicorn_imports_no_artifacts() -> None:
    code = "import sys, runicorn; print([name for name in sys.modules if 'artifact' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
