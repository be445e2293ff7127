"""`runicorn plugins clean`: what a plugin has left goes once it is uninstalled, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runicorn
from tests.plugin_on_path import PluginDirectory
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]

LEAVING = """
    from runicorn.plugin import hookimpl

    class Seen:
        name, version, schema = "seen", 1, "CREATE TABLE seen(stream_id INTEGER)"
        streams = frozenset({"run"})

        def apply(self, batch, tables): ...
        def forget(self, stream_id, tables): ...

    @hookimpl
    def runicorn_projections():
        return [Seen()]

    @hookimpl
    def runicorn_on_events(events, directory):
        (directory / "heard").write_text(str(len(events)))
"""


class Place:
    """A store, and a directory on the import path with the plugins `leaving-1` and `staying`."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.state = self.root / ".runicorn" / "state"
        self.plugins = PluginDirectory(directory / "plugins")
        for name in ("leaving_1", "staying"):
            self.plugins.add(name, LEAVING)
        info = self.plugins.directory / "leaving_1-1.0.dist-info"
        (info / "entry_points.txt").write_text("[runicorn.plugins]\nleaving-1 = leaving_1\n")
        self.root.mkdir()

    def uninstall(self) -> None:
        (self.plugins.directory / "leaving_1.py").unlink()
        shutil.rmtree(self.plugins.directory / "leaving_1-1.0.dist-info")

    def clean(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "runicorn", "plugins", "clean", "--json", "--storage", str(self.root), *arguments],
            env={**os.environ, **self.plugins.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.state)) for path in self.state.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def use(place: Place, server: Server) -> None:
    server.wait_until_live()
    with runicorn.init("p", storage=str(place.root), capture_env=False) as run:
        run.log({"a": 1})
    wait_until(lambda: (place.state / "plugins/leaving-1/heard").exists(), "the reaction")


def test_only_what_uninstalled_plugins_have_left_is_removed(place: Place, serve: Callable[..., Server]) -> None:
    server = serve(place.root, environment=place.plugins.environment)
    use(place, server)
    server.stop()
    before = place.files()
    assert place.clean()["plugins"] == []
    assert place.clean("--dry-run") == {"dry_run": True, "bytes": 0, "plugins": [], "in_use": []}
    assert place.files() == before

    place.uninstall()
    leftovers = {name for name in before if "leaving-1" in name}
    size = sum((place.state / name).stat().st_size for name in leftovers)
    looked = place.clean("--dry-run")
    assert place.files() == before
    assert [left["plugin"] for left in looked["plugins"]] == ["leaving-1"]
    assert looked["bytes"] == size > 0
    cleaned = place.clean()
    assert cleaned == {**looked, "dry_run": False}
    assert place.files() == before - leftovers
    assert not (place.state / "plugins/leaving-1").exists()
    assert place.clean()["bytes"] == 0


@pytest.mark.slow(3)
def test_nothing_of_a_plugin_is_removed_while_a_server_still_uses_it(
    place: Place, serve: Callable[..., Server]
) -> None:
    server = serve(place.root, environment=place.plugins.environment)
    use(place, server)
    place.uninstall()
    before = place.files()
    cleaned = place.clean()
    assert (cleaned["bytes"], cleaned["in_use"]) == (0, ["leaving-1"])
    assert {name for name in before if "leaving-1" in name} <= place.files()

    server.stop()
    server = serve(place.root, environment=place.plugins.environment)  # beside one that does not know it
    server.wait_until_live()
    assert [left["plugin"] for left in place.clean()["plugins"]] == ["leaving-1"]
    assert not {name for name in place.files() if "leaving-1" in name}
    assert server.http.get("/api/runs").json()


def test_what_a_link_leads_to_is_not_removed(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("")
    (place.state / "plugins").mkdir(parents=True)
    (place.state / "plugins" / "gone").symlink_to(elsewhere)
    (place.state / "gone-0123456789ab-000001.damaged").write_bytes(b"12345")
    cleaned = place.clean()
    assert [(left["plugin"], left["files"]) for left in cleaned["plugins"]] == [
        ("gone", ["gone-0123456789ab-000001.damaged", "plugins/gone"])
    ]
    assert not os.path.lexists(place.state / "plugins" / "gone")
    assert (elsewhere / "precious").exists()


def test_a_store_without_state_has_nothing_to_clean(place: Place) -> None:
    assert place.clean() == {"dry_run": False, "bytes": 0, "plugins": [], "in_use": []}
