"""Differences of versions over HTTP."""

from __future__ import annotations

from runicorn.artifacts import Artifact
from tests.artifact_world import World, name, world

__all__ = ["name", "world"]


def test_files_references_and_metadata(world: World, name: str) -> None:
    folder = world.root.parent / "files"
    contents = [{"kept": "k", "changed": "old", "moved": "same", "gone": "12345"},
                {"kept": "k", "changed": "newer", "moved_here": "same", "new": "123"}]  # fmt: skip
    for number, files in enumerate(contents):
        artifact = Artifact(name, description="a net", metadata={"acc": 0.5 + number, "lr": 1, f"only{number}": True})
        artifact.add_tags("good", *(["best"] * number)).add_reference("s3://b/raw.tar", size=number)
        for path, content in files.items():
            source = folder / f"{number}-{path}"
            source.write_text(content)
            artifact.add_file(source, path)
        world.storage.save_artifact(artifact, f"r{number}", *artifact.staged)
    diff = world.get(f"/{name}/diff", **{"from": "v1", "to": "v2"})
    assert (diff["artifact"], diff["type"], diff["same_content"]) == (name, "model", False)
    assert [(diff[side]["version"], diff[side]["created_by_run"]) for side in ("from", "to")] == [(1, "r0"), (2, "r1")]
    files = diff["files"]
    assert [item["path"] for item in files["added"]] == ["moved_here", "new"]
    assert [item["path"] for item in files["removed"]] == ["gone", "moved"]
    assert [(item["path"], item["from_size"], item["to_size"]) for item in files["changed"]] == [("changed", 3, 5)]
    assert (files["unchanged"], files["bytes_new"], files["bytes_gone"]) == (1, 5 + 3, 3 + 5)
    assert diff["references"] == {"added": [], "removed": [], "changed": ["s3://b/raw.tar"]}
    assert diff["metadata"] == {
        "added": {"only1": True}, "removed": {"only0": True}, "changed": {"acc": {"from": 0.5, "to": 1.5}},
        "description": None, "tags": {"from": ["good"], "to": ["good", "best"]},
    }  # fmt: skip
    # Backwards, what was added is removed.
    back = world.get(f"/{name}/diff", **{"from": "latest", "to": "1"})
    assert back["files"]["added"] == files["removed"]
    assert (back["files"]["bytes_new"], back["files"]["bytes_gone"]) == (files["bytes_gone"], files["bytes_new"])


def test_of_a_version_with_itself_is_empty(world: World, name: str) -> None:
    world.save(name, "a", "b")
    diff = world.get(f"/{name}/diff", **{"from": "v1", "to": "v1"})
    assert diff["same_content"] is True
    assert diff["files"] == {
        "added": [], "removed": [], "changed": [], "unchanged": 2, "bytes_new": 0, "bytes_gone": 0,
    }  # fmt: skip


def test_by_default_the_latest_is_compared_with_the_one_before(world: World, name: str) -> None:
    for content in "abc":
        world.save(name, content)
    world.send("DELETE", f"/{name}/v2")
    diff = world.get(f"/{name}/diff")
    assert (diff["from"]["version"], diff["to"]["version"]) == (1, 3)
    diff = world.get(f"/{name}/diff", **{"from": "v2"})
    assert diff["from"]["status"] == "deleted"


def test_refused(world: World, name: str) -> None:
    world.save(name)
    world.save(name, type="dataset")
    path = f"/{name}/diff"
    assert world.refused("GET", path)[0] == 400
    assert world.refused("GET", f"{path}?from=v7") == (404, f"Version not found: {name}:v7")
    assert world.refused("GET", f"{path}?from=v0") == (404, f"Version not found: {name}:v0")
    assert world.refused("GET", f"{path}?from=best") == (
        404, f"Alias not found: best for artifact {name}. Available aliases: ['latest']",
    )  # fmt: skip
    assert world.refused("GET", f"{path}?from=v1&type=code") == (404, f"Artifact not found: {name} (type=code)")
    assert world.refused("GET", "/unknown/diff?from=v1") == (404, "Artifact not found: unknown")
    (world.folder(name) / "v1/manifest.json").write_text("{")
    assert world.refused("GET", f"{path}?from=v1&to=v1") == (409, f"Manifest of {name}:v1 is missing or damaged")
    assert world.get(path, **{"from": "v1", "to": "v1", "type": "dataset"})["type"] == "dataset"
