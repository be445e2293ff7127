"""Numbers of versions over HTTP: each is used once, whatever happens to the versions before it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.artifact_world import World, name, world
from tests.serving import Server, serve

__all__ = ["name", "serve", "world"]

Serve = Callable[..., Server]


def upload(world: World, name: str, content: str, file: str = "weights.bin") -> Any:
    return world.send("POST", f"/{name}/versions", files=[("file", (file, content.encode()))])


@pytest.mark.parametrize("purged", [[2], [3], [1, 2, 3]])
def test_no_number_is_used_again_after_a_purge_and_a_restart(serve: Serve, tmp_path: Path, purged: list[int]) -> None:
    root = tmp_path / "root"
    world = World(serve(root, "--rate-limit", "off"), root)
    assert [upload(world, "net", content)["version"] for content in "abc"] == [1, 2, 3]
    for version in purged:
        world.send("DELETE", f"/net/v{version}", params={"permanent": "true"})
    assert world.server.stop() == 0
    world = World(serve(root, "--rate-limit", "off"), root)
    assert upload(world, "net", "d")["version"] == 4
    world.send("DELETE", "/net/v4", params={"permanent": "true"})
    assert world.save("net", type="custom") == 5
    left = [version for version in (1, 2, 3) if version not in purged]
    assert [item["version"] for item in world.get("/net/versions")] == [*left, 5]


def test_savers_of_all_kinds_at_once_get_all_numbers_once_and_the_index_can_always_be_read(
    world: World, name: str
) -> None:
    index = world.folder(name, "custom") / "versions.json"
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if index.exists():
                seen.append(len(json.loads(index.read_text())["versions"]))

    def save(number: int) -> int:
        if number % 2:
            return upload(world, name, f"content {number}")["version"]
        return world.save_text(name, f"content {number}", type="custom")

    with ThreadPoolExecutor(7) as pool:
        reading = pool.submit(read)
        try:
            numbers = list(pool.map(save, range(24)))
        finally:
            stop.set()
        reading.result()
    assert sorted(numbers) == list(range(1, 25))
    assert seen == sorted(seen)
    assert [item["version"] for item in world.get(f"/{name}/versions")] == list(range(1, 25))


def test_a_folder_of_somebody_else_in_the_place_of_the_next_version_is_left_alone(world: World, name: str) -> None:
    upload(world, name, "first")
    foreign = world.folder(name, "custom") / "v2"
    foreign.mkdir()
    (foreign / "notes").write_text("not ours")
    files = [("file", ("weights.bin", b"second"))]
    assert world.refused("POST", f"/{name}/versions", files=files) == (409, f"Version v2 already exists for {name}")
    with pytest.raises(RuntimeError, match=rf"^Version v2 already exists for {name}$"):
        world.save_text(name, "second", type="custom")
    assert [path.name for path in foreign.iterdir()] == ["notes"]
    assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]
    (foreign / "notes").unlink()
    foreign.rmdir()
    assert upload(world, name, "second")["version"] == 2


@pytest.mark.parametrize("file", ["f" * 200, "a..b", "ü" * 100, ".hidden"])
def test_unusual_file_names_can_be_stored(world: World, name: str, file: str) -> None:
    upload(world, name, "content", file)
    [item] = world.get(f"/{name}/v1/files")["files"]
    assert item["path"] == file
    assert Path(item["absolute_path"]).read_text() == "content"
    assert world.http.get(f"/api/artifacts/{name}/v1/files/{file}").text == "content"
