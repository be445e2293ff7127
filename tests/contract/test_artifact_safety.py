"""Whatever is asked of any route about artifacts: nothing outside of them is touched, and nothing fails with 500.

The routes are those that the server itself lists, so a new one is held to the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

import runicorn as rn
from tests.artifact_world import World, name, world
from tests.serving import Server, serve, wait_until

__all__ = ["name", "serve", "world"]

Serve = Callable[..., Server]

BODIES: dict[str, dict[str, Any]] = {
    "/promote": {"json": {"to_stage": "staging"}},
    "/evaluate": {"json": {"metrics": {"a": 1}, "status": "passed"}},
    "/uploads": {"json": {"files": [{"path": "a", "size": 1, "digest": f"sha256:{'0' * 64}"}]}},
    "/versions": {"files": [("file", ("a", b"1"))]},
}
HOSTILE = ["../../x", "/etc", "..", ".dedup", "a\\b", "a\0b", "a:b", "n" * 300, "ü" * 100, "\x7f", "\x85"]


class Route(NamedTuple):
    """A route that has the name of an artifact in its path."""

    method: str
    path: str
    takes_type: bool

    def call(self, world: World, name: str, *, version: str = "v1", **parameters: str) -> httpx.Response:
        filled = self.path.format(
            name=quote(name, safe=""),
            version=quote(version, safe=""),
            alias="good",
            path="file0",
            upload_id="0" * 32,
            digest="0" * 64,
        )
        body = next((body for end, body in BODIES.items() if self.path.endswith(end)), {})
        return world.http.request(self.method, filled, params=parameters, **(body if self.method == "POST" else {}))


def routes(world: World) -> list[Route]:
    described: dict[str, Any] = world.http.get("/openapi.json").json()["paths"]
    found = [
        Route(method.upper(), path, any(p["name"] == "type" for p in operation.get("parameters", [])))
        for path, operations in described.items()
        for method, operation in operations.items()
        if path.startswith("/api/artifacts/{")
    ]
    assert len(found) > 20
    return found


def tree(world: World) -> dict[Path, int]:
    """Every file and folder of the store and around it, with the time of its last change."""
    paths = (path for path in world.root.parent.rglob("*") if ".runicorn" not in path.parts)
    return {path: path.lstat().st_mtime_ns for path in paths}


@pytest.mark.parametrize("type", HOSTILE)
def test_a_type_that_no_artifact_can_have_is_refused_by_every_route(world: World, type: str) -> None:
    if not world.folder("typed").exists():
        world.save("typed")
        (world.root.parent / "x").mkdir()
        (world.root.parent / "x" / "typed").mkdir()
    before = tree(world)
    for route in routes(world):
        if route.takes_type:
            answer = route.call(world, "typed", type=type)
            assert (answer.status_code, answer.json()["detail"].split(":")[0]) == (400, "Invalid artifact type"), route
    assert world.http.get("/api/artifacts", params={"type": type}).status_code == 400
    assert tree(world) == before


@pytest.mark.parametrize("bad", [name for name in HOSTILE if name != ".."])
def test_a_name_that_no_artifact_can_have_touches_nothing(world: World, bad: str) -> None:
    before = tree(world)
    for route in routes(world):
        answer = route.call(world, bad)
        is_one_segment = "/" not in bad
        assert answer.status_code in (
            (400,) if is_one_segment and "uploads/{" not in route.path else (400, 404, 405)
        ), (
            route,
            answer.text,
        )
    assert tree(world) == before


@pytest.mark.parametrize(
    "version", ["v0", "v-1", "v00", "v1.5", "v", "vx", "1", "latest", f"v{10**30}", "v" + "9" * 300]
)
def test_what_is_no_version_never_fails(world: World, version: str) -> None:
    if not world.folder("numbered").exists():
        world.save("numbered")
    before = tree(world)
    for route in routes(world):
        if "{version}" in route.path:
            answer = route.call(world, "numbered", version=version)
            assert answer.status_code in (400, 404), (route, answer.text)
    assert tree(world) == before


def test_gets_create_and_change_nothing(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    world = World(serve(root, "--rate-limit", "off"), root)
    world.save("net")
    wait_until(lambda: world.listed("net"), "the artifact")
    before = tree(world)
    for route in routes(world):
        if route.method == "GET":
            for name in ("net", "nobody"):
                route.call(world, name)
    for path in ("", "/stats"):
        world.get(path)
    assert tree(world) == before


def test_custom_types_need_no_hint(world: World, name: str) -> None:
    world.save(name, type="zoo")
    world.save(name, type="zoo")
    (world.root / "artifacts/model" / name).mkdir(parents=True, exist_ok=True)  # an empty folder hides nothing
    for route in routes(world):
        if route.method == "GET" and "uploads" not in route.path:
            assert route.call(world, name).status_code == 200, route
    assert world.get(f"/{name}/v1")["type"] == "zoo"
    world.send("POST", f"/{name}/v1/evaluate", **BODIES["/evaluate"])
    world.promote(name, 1, "staging", "production")
    world.send("PUT", f"/{name}/v1/aliases/good")
    world.send("DELETE", f"/{name}/aliases/good")
    world.send("DELETE", f"/{name}/v1")
    world.send("POST", f"/{name}/v1/restore")
    assert world.index(name, "zoo")["aliases"] == {"production": 1, "latest": 2}
    with rn.Run("vision", str(world.root), capture_env=False) as run:
        assert run.use_artifact(f"{name}:production").type == "zoo"
    world.send("DELETE", f"/{name}/v2", params={"permanent": "true"})
    assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]


GARBAGE = ["", "{", "[]", "null", '"x"', "5", '{"a": 1e999}', '{"versions": 5, "aliases": 5, "files": 5}',
           '{"versions": [5, {"version": "x"}], "aliases": {"a": "b"}, "files": [5], "artifacts": [5, {}]}',
           '{"name": [], "version": {}, "created_at": "soon", "size_bytes": 1e400, "tags": 5, "metadata": 5}',
           "\x00\x00", "[" * 100_000]  # fmt: skip


def damaged_files(world: World, name: str) -> Iterator[Path]:
    folder = world.folder(name)
    yield folder / "versions.json"
    for file in ("metadata.json", "manifest.json", "lifecycle.json", ".deleted"):
        yield folder / "v1" / file


@pytest.mark.slow(3)
def test_one_damaged_file_fails_no_route_and_hides_no_other_artifact(world: World) -> None:
    world.save("sound")
    evaluations = world.root / "evaluations"
    evaluations.mkdir(exist_ok=True)
    for number, content in enumerate(GARBAGE):
        name = world.name()
        (evaluations / f"{name}_v1_{number}.json").write_text(content)
        for path in damaged_files(world, name):
            if not path.parent.exists():
                world.save(name)
                world.save(name)
            kept = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
            path.write_text(content)
            for route in routes(world):
                if route.method == "GET":
                    answer = route.call(world, name)
                    assert answer.status_code < 500, (route, path.name, content[:80], answer.text)
            assert [item["version"] for item in world.get(f"/{name}/versions", include_deleted=True)] == [1, 2]
            assert world.listed("sound")
            path.unlink()
            if kept is not None:
                path.write_bytes(kept)
        assert world.get(f"/{name}/v1")["status"] == "ready"


@pytest.mark.parametrize("content", GARBAGE)
def test_damaged_lists_of_a_run_fail_nothing(world: World, content: str) -> None:
    run = rn.Run("vision", str(world.root), capture_env=False)
    run.finish()
    for file in ("artifacts_created.json", "artifacts_used.json"):
        (run.run_dir / file).write_text(content)
    wait_until(lambda: world.http.get(f"/api/runs/{run.id}").status_code == 200, "the run")
    answer = world.http.get(f"/api/runs/{run.id}/artifacts")
    assert (answer.status_code, answer.json()) == (200, {"created": [], "used": []})


def test_another_root_shows_its_own_artifacts_at_once(serve: Serve, tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    world = World(serve(roots[0], "--rate-limit", "off"), roots[0])
    other = World(world.server, roots[1])
    world.save("here"), other.save("there")
    wait_until(lambda: world.listed("here"), "the artifact")
    answer = world.http.post("/api/config/user_root_dir", json={"path": str(roots[1])})
    assert answer.status_code == 200, answer.text
    assert world.get("/there/v1")["name"] == "there"
    assert world.refused("GET", "/here/v1") == (404, "Artifact not found: here")
    wait_until(lambda: [item["name"] for item in world.get("")] == ["there"], "the list")
    world.send("DELETE", "/there/v1")
    assert (roots[1] / "artifacts/model/there/v1/.deleted").exists()
    assert not list(roots[0].rglob(".deleted"))


@pytest.mark.slow
def test_hashing_delays_nobody(world: World, name: str) -> None:
    """What is sent is hashed on arrival, and hashed once more where the pool has it already."""
    content = bytes(1 << 20) * 256
    seconds: list[float] = []
    done = threading.Event()

    def send() -> None:
        started = time.monotonic()
        try:
            with httpx.Client(base_url=world.server.url, timeout=120) as http:
                for _ in range(2):
                    files = [("file", ("zeros.bin", content))]
                    assert http.post(f"/api/artifacts/{name}/versions", files=files).status_code == 200
        finally:
            seconds.append(time.monotonic() - started)
            done.set()

    sender = threading.Thread(target=send)
    sender.start()
    waited: list[float] = []
    while not done.is_set():
        started = time.monotonic()
        assert world.http.get("/api/health").status_code == 200
        waited.append(time.monotonic() - started)
    sender.join()
    assert [item["version"] for item in world.get(f"/{name}/versions")] == [1, 2]
    assert max(waited) < seconds[0] / 4, f"{max(waited):.3f} s out of {seconds[0]:.3f} s"


def test_an_artifact_called_runs_is_no_run(world: World) -> None:
    world.save("runs"), world.save("runs")
    world.send("DELETE", "/runs/v1")
    wait_until(lambda: world.listed("runs"), "the artifact")
    assert all(run["id"] not in ("v1", "v2") for run in world.http.get("/api/runs").json())


def test_add_file_leads_nowhere_else(world: World, name: str, tmp_path: Path) -> None:
    source = tmp_path / "w"
    source.write_text("x")
    before = tree(world)
    with rn.Run("vision", str(tmp_path / "other"), capture_env=False) as run:
        for path in ("/abs", "../x", "a/../../x", "a//b", "./x", "a\0b"):
            with pytest.raises(ValueError, match=r"^Invalid artifact path"):
                run.log_artifact(rn.Artifact(name).add_file(source, path))
    assert not list(tmp_path.rglob("abs"))
    assert not (tmp_path / "other/artifacts/model").exists()
    assert tree(world) == before
