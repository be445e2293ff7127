"""The commands below `runicorn artifacts`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runicorn as rn
from runicorn.artifacts import Artifact, ArtifactStorage, LineageEdge, LineageGraph, LineageNode
from runicorn_artifacts.drawing import as_dot, as_mermaid
from tests.commands import runicorn
from tests.plugins.artifacts.conftest import Make, Save


def run(root: Path, command: str, *arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    done = runicorn("artifacts", command, *arguments, "--storage", root, directory=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def history(root: Path, make: Make) -> Path:
    """A dataset, a model that a run made of it, and a report on the model."""
    with rn.init("vision", str(root), name="prepare", capture_env=False) as prepare:
        prepare.log_artifact(Artifact("imgs", "dataset").add_file(make("imgs")))
    with rn.init("vision", str(root), name="train", capture_env=False) as train:
        train.use_artifact("imgs:v1")
        train.log_artifact(Artifact("net").add_file(make()))
    with rn.init("vision", str(root), name="report", capture_env=False) as report:
        report.use_artifact("net:latest")
        report.log_artifact(Artifact("report", "custom").add_file(make("report.txt")))
    return root


def test_diff(root: Path, storage: ArtifactStorage, make: Make) -> None:
    for number, files in enumerate(({"a": "1", "b": "2"}, {"b": "333", "c": "4"})):
        artifact = Artifact("net", metadata={"acc": number})
        for name, content in files.items():
            artifact.add_file(make(f"{number}/{name}", content), name)
        storage.save_artifact(artifact, "r", *artifact.staged)
    status, out, _ = run(root, "diff", "net:v1", "model/net:latest")
    assert (status, out.splitlines()) == (0, [
        "net:v1 → net:v2", "  + c (1 B)", "  - a (1 B)", "  ~ b (1 B → 3 B)",
        "Files: 1 added, 1 removed, 1 changed, 0 unchanged; 4 B new, 2 B gone", "Metadata:", "  ~ acc: 0 → 1",
    ])  # fmt: skip
    found = json.loads(run(root, "diff", "net:v1", "net:v2", "--json")[1])
    assert (found["files"]["bytes_new"], found["metadata"]["changed"]) == (4, {"acc": {"from": 0, "to": 1}})


def test_lineage_as_tree_and_in_other_forms(history: Path) -> None:
    status, out, _ = run(history, "lineage", "net:v1")
    lines = out.splitlines()
    assert (status, lines[0], lines[1]) == (0, "net:v1 (model)", "├── came from")
    assert "imgs:v1 (dataset)" in lines[3]
    assert lines[5] == "└── led to"
    assert "(report)" in lines[6]
    assert "report:v1 (custom)" in lines[7]
    mermaid = run(history, "lineage", "net:v1", "--format", "mermaid")[1].splitlines()
    assert mermaid[:2] == ["flowchart LR", '    n0(["net:v1 (model)"])']
    assert sum(" --> " in line for line in mermaid) == 5
    dot = run(history, "lineage", "net:v1", "--format", "dot")[1]
    assert dot.startswith("digraph lineage {")
    assert dot.count(" -> ") == 5
    graph = json.loads(run(history, "lineage", "net:v1", "--format", "json", "--depth", "0")[1])
    assert [node["node_id"] for node in graph["nodes"]] == ["net:v1"]
    assert json.loads(run(history, "lineage", "net:v1", "--json", "--depth", "0")[1]) == graph
    assert run(history, "lineage", "net:v1", "--json", "--format", "dot")[0] == 2


def test_no_name_breaks_a_drawing() -> None:
    nodes = [LineageNode("artifact", 'a"]<b>\n#\\:v1', "a", {"type": "model"}), LineageNode("run", "r", "r")]
    graph = LineageGraph("a", nodes, [LineageEdge("r", nodes[0].node_id, "produces")])
    assert '    n0(["a#quot;]#lt;b#gt;\ufffd#35;\\:v1 (model)"])' in as_mermaid(graph).splitlines()
    assert '    n0 [label="a\\"]<b>\ufffd#\\\\:v1 (model)", shape=box];' in as_dot(graph).splitlines()


def test_impact_and_provenance(history: Path) -> None:
    status, out, _ = run(history, "impact", "imgs:v1")
    assert (status, out.splitlines()[0]) == (
        0, "2 run(s) used dataset/imgs:v1, directly or not; made of it: 1 model, 1 custom",
    )  # fmt: skip
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["model/net:v1", "custom/report:v1"]
    assert json.loads(run(history, "impact", "imgs:v1", "--json")[1])["counts"] == {"model": 1, "custom": 1}
    status, out, _ = run(history, "provenance", "report:v1")
    steps = [line for line in out.splitlines() if line[0].isdigit()]
    assert [step.rpartition(" ")[2] for step in steps] == ["(vision/prepare)", "(vision/train)", "(vision/report)"]
    assert "     inputs: dataset/imgs:v1" in out.splitlines()
    found = json.loads(run(history, "provenance", "report:v1", "--json")[1])
    assert [step["name"] for step in found["steps"]] == ["prepare", "train", "report"]


def test_log_and_download(root: Path, make: Make, tmp_path: Path) -> None:
    files = make("data/a.bin", "aaa").parent
    make("data/inner/b.bin", "bb")
    status, out, _ = run(root, "log", str(files), "--name", "data", "--type", "dataset", "--alias", "best",
                         "--tag", "raw", "--metadata", '{"rows": 5}', "--description", "rows")  # fmt: skip
    assert (status, out) == (0, "✅ Saved data:v1\n")
    status, out, _ = run(root, "download", "data:best", cwd=tmp_path)
    assert (status, out) == (0, "✅ Copied data:v1 to data-v1\n")
    assert (tmp_path / "data-v1/inner/b.bin").read_text() == "bb"
    assert json.loads(run(root, "download", "data:v1", "--to", str(tmp_path / "x"), "--json")[1])["success"]
    assert (tmp_path / "x/a.bin").read_text() == "aaa"
    info = ["artifacts", "--storage", root, "--action", "info", "--json", "--name", "data", "--version", "1"]
    shown = json.loads(runicorn(*info).stdout)
    assert (shown["metadata"], shown["tags"], shown["description"]) == ({"rows": 5}, ["raw"], "rows")
    assert shown["aliases"] == ["best", "latest"]


def test_aliases(root: Path, save: Save, storage: ArtifactStorage) -> None:
    save(), save()
    assert run(root, "alias", "net:v1", "best")[:2] == (0, "✅ net:best is v1 now\n")
    assert run(root, "alias", "net:latest", "best")[:2] == (0, "✅ net:best is v2 now\n")
    assert [item.aliases for item in storage.list_versions("net")] == [[], ["best", "latest"]]
    assert run(root, "alias", "net:v1", "best", "--remove") == (1, "", "Error: Alias not found: best of net:v1\n")
    assert run(root, "alias", "net:best", "best", "--remove")[:2] == (0, "✅ net:best is removed\n")
    assert run(root, "alias", "net:v1", "latest")[0] == 1


def test_restore(root: Path, save: Save, storage: ArtifactStorage) -> None:
    save(), save()
    for version in (1, 2):
        storage.delete_artifact_version("net", None, version)
    assert run(root, "restore", "net:v1")[:2] == (0, "✅ Restored net:v1\n")
    assert [item.version for item in storage.list_versions("net")] == [1]
    found = json.loads(run(root, "restore", "model/net:v2", "--json")[1])
    assert found == {"success": True, "message": "Restored net:v2"}
    assert [item.version for item in storage.list_versions("net")] == [1, 2]


def test_verify_all_versions_or_one(root: Path, save: Save) -> None:
    save("good"), save("same size")
    status, out, err = run(root, "verify")
    assert (status, out, err) == (0, "", "2 versions checked: no problems.\n")
    damaged = root / "artifacts/model/net/v2/files/weights.bin"
    damaged.chmod(0o644)
    damaged.write_text("another!!")
    assert run(root, "verify")[:2] == (1, "model/net:v2: files/weights.bin: another content\n")
    status, out, _ = run(root, "verify", "net:latest", "--json")
    problem = {"artifact": "model/net:v2", "path": "files/weights.bin", "reason": "another content"}
    assert (status, json.loads(out)) == (1, [problem])
    assert run(root, "verify", "net:v1") == (0, "", "1 versions checked: no problems.\n")


def test_gc_tells_first_and_then_removes(root: Path, save: Save) -> None:
    save()
    orphan = root / "artifacts/.dedup/ab" / ("ab" * 32)
    orphan.parent.mkdir()
    orphan.write_text("x" * 100)
    left = root / "artifacts/.tmp/left"
    left.mkdir()
    os.utime(left, (time.time() - 25 * 3600,) * 2)
    assert run(root, "gc", "--dry-run")[:2] == (0, "Would remove 1 unused contents (0.00 MB).\n")
    assert orphan.exists()
    assert left.exists()
    found = json.loads(run(root, "gc", "--json")[1])
    assert found == {"contents": 1, "bytes": 100, "left": 1, "dry_run": False}
    assert not orphan.exists()
    assert not left.exists()
    assert json.loads(run(root, "gc", "--dry-run", "--json")[1])["contents"] == 0


def test_promote(root: Path, save: Save, storage: ArtifactStorage) -> None:
    save()
    assert run(root, "promote", "net:v1", "production") == (
        1, "", "Error: Invalid transition from experimental to production\n",
    )  # fmt: skip
    for stage in ("staging", "production"):
        assert run(root, "promote", "net:latest", stage)[:2] == (0, f"✅ net:v1 is in {stage} now\n")
    assert storage.list_versions("net")[0].aliases == ["production", "latest"]
    assert storage.promote_artifact_version("net", None, 1, "archived") == "production"
    assert storage.list_versions("net")[0].aliases == ["latest"]
    assert run(root, "promote", "net:v1", "heaven")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("diff", "net:v1", "net:v7"), "Version not found: net:v7"),
        (("diff", "net:best", "net:v1"), "Alias not found: best for artifact net. Available aliases: ['latest']"),
        (("impact", "none"), "Artifact not found: none"),
        (("lineage", "dataset/net:v1"), "Artifact not found: net (type=dataset)"),
        (("provenance", "../net:v1"), "Artifact not found: net (type=..)"),
        (("restore", "net:v7"), "Version not found: net:v7"),
        (("verify", "none:v1"), "Artifact not found: none"),
        (("download", "net:"), "Artifact spec must be in format 'name:version' or 'name:alias', got: net:"),
        (("log", "absent", "--name", "x"), "File not found: absent"),
        (("log", ".", "--name", "x", "--alias", "v3"), "Invalid value for alias: 'v3' cannot be set"),
        (("log", ".", "--name", "x", "--metadata", "[]"), "Invalid value for metadata: must be a JSON object"),
        (("log", ".", "--name", "a/b"), "Artifact name contains invalid characters: a/b"),
    ],
)
def test_failures_are_one_line_and_change_nothing(
    root: Path, save: Save, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    save()
    before = sorted(root.rglob("*"))
    assert run(root, *arguments, cwd=tmp_path) == (1, "", f"Error: {text}\n")
    assert sorted(root.rglob("*")) == before


def test_a_foreign_folder_in_the_place_of_the_next_version_is_told_and_kept(root: Path, make: Make) -> None:
    foreign = root / "artifacts/custom/x/v1/notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("of somebody else")
    assert run(root, "log", str(make()), "--name", "x") == (1, "", "Error: Version v1 already exists for x\n")
    assert foreign.read_text() == "of somebody else"
    assert not (root / "artifacts/custom/x/versions.json").exists()


def test_wrong_usage_is_status_2(root: Path) -> None:
    assert run(root, "dance")[0] == 2
    assert runicorn("artifacts").returncode == 2
    assert runicorn("artifacts", "--action", "list", "diff", "a:v1", "a:v2").returncode == 2


def test_two_files_with_one_path_are_refused(root: Path, make: Make) -> None:
    one, two = make("a/model.pt", "1"), make("b/model.pt", "2")
    status, out, err = run(root, "log", str(one), str(two), "--name", "net")
    assert (status, out) == (2, "")
    assert "would both be model.pt in the artifact" in err.replace("\n", " ")
    make("p/data/x", "1"), make("q/data/x", "2"), make("q/data/y", "3")
    folders = [str(one.parent.parent / name / "data") for name in ("p", "q")]
    assert run(root, "log", *folders, "--name", "net")[0] == 2
    assert not (root / "artifacts/custom").exists()
    assert run(root, "log", str(one), str(one), folders[0], "--name", "net", "--json")[0] == 0
    found = json.loads((root / "artifacts/custom/net/v1/manifest.json").read_text())
    assert [file["path"] for file in found["files"]] == ["model.pt", "data/x"]


@pytest.mark.parametrize("words", [("--action", "list"), ("lineage", "net:v1", "--format", "mermaid")])
def test_a_reader_that_has_enough_is_no_error(root: Path, save: Save, words: tuple[str, ...]) -> None:
    save()
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "runicorn", "artifacts", *words, "--storage", str(root)],
            stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
