"""Subjects of third-party plugins: `runicorn history` and `runicorn events undo` work on them, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.plugin_on_path import PluginDirectory

BOARDS = """
    from runicorn.plugin import FieldChange, HistoryEntry, HistoryPage, hookimpl

    class Board:
        title = "board main"
        reversible = frozenset({"board.cleaned"})
        irreversible = {}
        observed = frozenset()

        def __init__(self, root):
            self.root = root

        def page(self, wanted):
            change = FieldChange("notes", ["a"], [])
            what = "Cleaned\\x1b[2J"
            return HistoryPage(
                [HistoryEntry(5.0, None, "boards/main", 7, "board.cleaned", "command", None, what, [change])], None
            )

        def take_back(self, changes, note):
            (self.root / "taken-back").write_text(f"{note}: {[(it.field, it.before) for it in changes]}")
            return []

    class Boards:
        def find(self, store, text):
            return Board(store.root) if text == "main" else None

    @hookimpl
    def runicorn_subjects():
        return [Boards()]
"""


def runicorn(plugins: PluginDirectory, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "runicorn", *arguments, "--storage", str(root)]
    environment = {**os.environ, **plugins.environment, "RUNICORN_PLUGINS": "boards,runs"}
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)


def test_a_plugin_brings_a_kind_with_history_and_undo(tmp_path: Path) -> None:
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add("boards", BOARDS)
    root = tmp_path / "root"
    root.mkdir()

    shown = runicorn(plugins, root, "history", "main")
    assert "Cleaned\ufffd[2J" in shown.stdout, "what is stored must not move the cursor of a terminal"
    assert 'notes: ["a"] → []' in shown.stdout
    (listed,) = runicorn(plugins, root, "events", "undo", "main", "--list", "--json").stdout.splitlines()
    assert json.loads(listed)["offset"] == 7
    done = runicorn(plugins, root, "events", "undo", "main", "--offset", "boards/main@7")
    assert done.returncode == 0, done.stderr
    assert (root / "taken-back").read_text() == "Undo of boards/main@7: [('notes', ['a'])]"
    assert "Neither a run nor an artifact" in runicorn(plugins, root, "history", "other").stderr
