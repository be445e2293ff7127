"""Read models compared with a replay: what a projector wrote piece by piece is what a replay writes at once."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runicorn.errors import StorageUnavailable
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost, Selection
from runicorn.plugin import RunDeleted, RunDescribed, RunRestored, RunTagged
from runicorn.projection.rebuild import rebuild
from runicorn.projection.verifying import Checked, verify_models
from tests.projecting import InProcess, runs_host
from tests.stores import make_run, metrics_event

STORE = ".runicorn/log/00000009"


def event(ts: float, kind: str, **data: Any) -> str:
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def value(random: Random) -> Any:
    odd = [math.nan, math.inf, None, "text", True, 10**40, -0.0]
    return random.choice(odd) if random.random() < 0.1 else random.choice([random.random(), random.randint(-9, 9)])


def run_events(random: Random, number: int) -> list[str]:
    """Whatever a run may log, enough of it for chunks and for levels of several of them."""
    lines = [event(5.0, "run.created", run_id=f"r{number}", project="p", name="n", created_at=float(number))]
    names = ["a", "b", "c/d", "stage"]
    step = 0
    for at in range(random.choice([0, 7, 900, 5000, 20_000])):
        step += 1 if number % 3 else random.choice([1, 1, 2, 0, -3])
        data = {name: value(random) for name in names if random.random() < 0.7}
        lines.append(event(6.0 + at, "metrics", **data, global_step=step))
        if random.random() < 0.002:
            lines.append(event(6.0 + at, "image", key=f"k{at}", path="media/x.png", step=at))
        if random.random() < 0.002:
            lines.append(event(6.0, "run.summarized", update={f"s{random.randint(0, 3)}": value(random)}))
        if random.random() < 0.002:
            lines.append(event(6.0, "run.configured", config={"lr": {"x": value(random)}}))
        if random.random() < 0.002:
            lines.append("broken\n")
    return lines


def sound(checks: list[Checked], *plugins: str) -> None:
    assert [(check.plugin, check.damage, check.differences, check.remarks) for check in checks] == [
        (plugin, [], [], []) for plugin in plugins
    ]
    assert sum(check.rows for check in checks)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_were_written_piece_by_piece_are_those_of_a_replay(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    root, state = tmp_path / "root", tmp_path / "state"
    left = {f"p/n/runs/r{number}": run_events(random, number) for number in range(12)}
    for key in left:
        make_run(root, key, events=b"", meta={"project": "p"}, status={"status": "running"})
    projector = InProcess(root, state, PluginHost.load(Selection.resolve()))
    store = StoreStream(projector.log)
    while any(left.values()):
        for key, lines in left.items():
            count = random.choice([0, 1, 3, 40, 1000, 3000])
            with (root / key / "events.jsonl").open("a") as events:
                events.write("".join(lines[:count]))
            del lines[:count]
            if random.random() < 0.2:
                about = {"run": key, "run_id": key.rpartition("/")[2]}
                store.append(
                    random.choice(
                        [
                            RunTagged(**about, tags=random.sample("abc", 2)),
                            RunDescribed(**about, description=random.choice([None, "long"])),
                            RunDeleted(**about, deleted_at=1.0, reason="", original_status="finished"),
                            RunRestored(**about),
                        ]
                    )
                )
        projector.sweep()
    shutil.rmtree(root / "p/n/runs/r7")
    projector.sweep()
    projector.close()

    checks = verify_models(root, state, PluginHost.load(Selection.resolve()))
    sound(checks, "artifacts", "runs")


COUNTING = """
    from runicorn.plugin import hookimpl

    class Numbered:
        name = "numbered"
        version = 1
        streams = frozenset({"run", "store"})
        schema = '''
            CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
            CREATE TABLE folded(text TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID;
            CREATE TABLE said(stream_id INTEGER NOT NULL, offset INTEGER NOT NULL, word INTEGER NOT NULL,
                PRIMARY KEY(stream_id, offset)) WITHOUT ROWID;
        '''
        MEANINGS

        def apply(self, batch, tables):
            for offset, event in zip(batch.offsets, batch.events):
                FAIL
                tables.execute("INSERT OR IGNORE INTO word(text) VALUES (?)", (event.type,))
                tables.execute("INSERT OR REPLACE INTO folded VALUES (?)", (event.type,))
                tables.execute("INSERT INTO said SELECT ?, ?, id FROM word WHERE text = ?",
                               (batch.stream_id, offset, event.type))

        def forget(self, stream_id, tables):
            tables.execute("DELETE FROM said WHERE stream_id = ?", (stream_id,))

    @hookimpl
    def runicorn_projections():
        return [Numbered()]
"""

MEANINGS = """
        @property
        def meanings(self):
            from runicorn.plugin import Meaning
            said = ("SELECT s.name, t.offset, w.text FROM said AS t JOIN stream AS s ON s.id = t.stream_id"
                    " JOIN word AS w ON w.id = t.word ORDER BY 1, 2")
            return {"word": None, "said": Meaning(said, 2)}
"""


def plugin(plugins, name: str, *, meanings: str = "", fail: str = "") -> PluginHost:
    plugins.add(name, COUNTING.replace("        MEANINGS\n", meanings).replace("FAIL", fail))
    return PluginHost.load(Selection(frozenset({"runs", name})))


@pytest.fixture
def applied_in_another_order(root: Path, state: Path, plugins, monkeypatch):
    """A function that makes a store whose read models numbered streams and words otherwise than a replay will."""
    monkeypatch.syspath_prepend(str(plugins.directory))

    def make(host: PluginHost) -> None:
        make_run(root, "p/n/runs/a", events=event(1.0, "last", a=1) + event(1.0, "Zeta", a=1) + event(1.0, "eta", a=1))
        projector = InProcess(root, state, host)
        projector.sweep()
        (root / ".runicorn/log").mkdir(parents=True, exist_ok=True)
        (root / f"{STORE}.jsonl").write_text(event(1.0, "first", a=1))  # a replay begins with the store stream
        projector.sweep()
        projector.close()

    return make


def test_a_plugins_own_numbers_are_read_by_their_meanings(root, state, plugins, applied_in_another_order) -> None:
    host = plugin(plugins, "numbered_told", meanings=MEANINGS)
    applied_in_another_order(host)
    sound(verify_models(root, state, host), "numbered_told", "runs")


def test_without_meanings_streams_are_read_by_their_names_and_other_numbers_as_they_are(
    root, state, plugins, applied_in_another_order
) -> None:
    host = plugin(plugins, "numbered_bare")
    applied_in_another_order(host)
    [bare, runs] = verify_models(root, state, host)
    assert runs.is_sound
    assert {difference.table for difference in bare.differences} == {"said"}
    assert f"stream='{STORE}', offset=0" in [difference.key for difference in bare.differences]


def test_a_plugin_that_cannot_apply_the_log_is_a_remark_and_others_are_compared(
    root, state, plugins, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(plugins.directory))
    make_run(root, "p/n/runs/a", events=event(1.0, "first", a=1))
    host = plugin(plugins, "numbered_failing", fail="assert event.type != 'second', 'enough'")
    rebuild(root, state, host)
    with (root / "p/n/runs/a/events.jsonl").open("a") as events:
        events.write(event(2.0, "second", a=1))
    [failing, runs] = verify_models(root, state, host)
    assert (failing.is_sound, failing.remarks) == (True, ["the plugin cannot apply the log: AssertionError: enough"])
    assert runs.is_sound
    assert runs.rows


def test_no_room_for_the_copies_says_so_and_leaves_nothing(root, state, tmp_path, monkeypatch) -> None:
    make_run(root, "p/n/runs/a", events=metrics_event(loss=1.0))
    rebuild(root, state, runs_host())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StorageUnavailable, match="cannot be copied"):
        verify_models(root, state, runs_host())


def test_temporary_files_are_removed(root, state, tmp_path, monkeypatch) -> None:
    make_run(root, "p/n/runs/a", events=metrics_event(loss=1.0))
    rebuild(root, state, runs_host())
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there"))
    before = list(state.glob("*.db"))
    sound(verify_models(root, state, runs_host()), "runs")
    assert os.listdir(tmp_path / "there") == []
    assert list(state.glob("*.db")) == before
