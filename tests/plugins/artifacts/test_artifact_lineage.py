"""Lineage from folders: both directions, whatever cycles there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import LineageEdge, LineageGraph, LineageNode, LineageTracker


class History:
    """Runs and versions as files, written by hand: a bare metadata.json and the lists of runs suffice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tracker = LineageTracker(root)
        self._clock = 100.0

    def run(self, run_id: str, used: list[str] = (), made: list[str] = (), *, parent: str = "p/n/runs") -> None:  # type: ignore[assignment] - an empty tuple is an empty list to read
        folder = self.root / parent / run_id
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"project": "vision", "name": f"name of {run_id}"}))
        entries = [self._entry(version, "used_at") for version in used]
        (folder / "artifacts_used.json").write_text(json.dumps({"artifacts": entries}))
        (folder / "artifacts_created.json").write_text(
            json.dumps({"artifacts": [self._entry(version, "created_at") for version in made]})
        )
        for version in made:
            self.version(version, run_id)

    def version(self, version: str, run_id: str = "") -> None:
        entry = self._entry(version, "created_at")
        folder = self.root / "artifacts" / entry["type"] / entry["name"] / f"v{entry['version']}"
        folder.mkdir(parents=True)
        (folder / "metadata.json").write_text(json.dumps({**entry, "created_by_run": run_id, "size_bytes": 7}))

    def graph(self, version: str, depth: int = 3) -> LineageGraph:
        entry = self._entry(version, "at")
        return self.tracker.build_lineage_graph(entry["name"], entry["type"], entry["version"], depth)

    def _entry(self, version: str, time_field: str) -> dict[str, Any]:
        type, _, name = version.rpartition("/")
        name, _, number = name.partition(":v")
        self._clock += 1
        return {"type": type or "model", "name": name, "version": int(number), time_field: self._clock}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def ids(graph: LineageGraph) -> list[str]:
    return [node.node_id for node in graph.nodes]


def edges(graph: LineageGraph) -> list[tuple[str, str]]:
    return [(edge.source, edge.target) for edge in graph.edges]


def test_a_version_shows_where_it_came_from_and_what_was_made_of_it(history: History) -> None:
    history.version("dataset/imgs:v1")
    history.run("20250114_180000_aaa789", ["dataset/imgs:v1"], ["net:v3"])
    history.run("20250115_090000_bbb012", ["net:v3"], ["custom/report:v1"])
    graph = history.graph("net:v3")
    assert graph.root_artifact == "net:v3"
    assert ids(graph) == ["net:v3", "20250114_180000_aaa789", "imgs:v1", "20250115_090000_bbb012", "report:v1"]
    assert [(edge.source, edge.target, edge.edge_type) for edge in graph.edges] == [
        ("20250114_180000_aaa789", "net:v3", "produces"),
        ("imgs:v1", "20250114_180000_aaa789", "uses"),
        ("net:v3", "20250115_090000_bbb012", "uses"),
        ("20250115_090000_bbb012", "report:v1", "produces"),
    ]
    assert graph.nodes[1] == LineageNode(
        "run", "20250114_180000_aaa789", "Run 20250114_180000_...",
        {"run_id": "20250114_180000_aaa789", "project": "vision", "name": "name of 20250114_180000_aaa789"},
    )  # fmt: skip
    assert (graph.nodes[2].label, graph.nodes[2].metadata["type"]) == ("imgs v1", "dataset")


def test_a_dataset_shows_every_run_that_used_it_in_order(history: History) -> None:
    history.version("dataset/d:v1")
    for run in ("third", "first", "second"):
        history.run(run, ["dataset/d:v1"], [f"of_{run}:v1"])
    history.run("legacy", ["dataset/d:v1"], parent="runs")
    graph = history.graph("dataset/d:v1")
    assert ids(graph) == ["d:v1", "third", "of_third:v1", "first", "of_first:v1", "second", "of_second:v1", "legacy"]
    assert graph.nodes[1].label == "Run third"


def test_cycles_end_and_no_edge_is_lost(history: History) -> None:
    history.version("d:v1", "again")
    history.run("train", ["d:v1"], ["net:v1"])
    history.run("again", ["net:v1"], ["d:v2"])
    graph = history.graph("net:v1", 10)
    assert ("again", "d:v1") in edges(graph)
    assert set(ids(graph)) == {"net:v1", "train", "d:v1", "again", "d:v2"}
    assert len(set(edges(graph))) == len(graph.edges)


def test_depth_counts_steps_from_artifact_to_artifact(history: History) -> None:
    for number in range(1, 14):
        history.run(f"r{number}", [f"c:v{number - 1}"] if number > 1 else [], [f"c:v{number}"])
    assert ids(history.graph("c:v2", 0)) == ["c:v2"]
    assert ids(history.graph("c:v2", -5)) == ["c:v2"]
    assert ids(history.graph("c:v3", 1)) == ["c:v3", "r3", "c:v2", "r4", "c:v4"]
    assert ids(history.graph("c:v1", 99))[-1] == "c:v11"


def test_a_shorter_way_that_is_found_later_leads_further(history: History) -> None:
    history.version("end:v1")
    history.run("e", ["end:v1"], ["d:v1"])
    history.run("long", ["d:v1"], ["mid:v1"])
    history.run("root", ["mid:v1", "d:v1"], ["top:v1"])
    assert "end:v1" in ids(history.graph("top:v1", 2))


def test_artifacts_of_one_name_and_two_types_are_two_nodes(history: History) -> None:
    history.version("dataset/x:v1")
    history.run("r", ["dataset/x:v1"], ["model/x:v1"])
    graph = history.graph("model/x:v1")
    assert ids(graph) == ["x:v1", "r", "dataset/x:v1"]
    assert edges(graph) == [("r", "x:v1"), ("dataset/x:v1", "r")]


def test_what_is_gone_is_left_out_and_a_run_without_folder_has_no_name(history: History) -> None:
    history.version("net:v1", "20250114_180000_aaa789")
    history.run("later", ["net:v1", "gone:v1"])
    graph = history.graph("net:v1")
    assert ids(graph) == ["net:v1", "20250114_180000_aaa789", "later"]
    assert graph.nodes[1].metadata == {"run_id": "20250114_180000_aaa789", "project": None, "name": None}


def test_an_unknown_version_has_no_nodes(history: History) -> None:
    history.version("net:v1")
    for name, version in (("net", 2), ("net", 0), ("..", 1), ("no", 1)):
        assert history.tracker.build_lineage_graph(name, "model", version).nodes == []


def test_damaged_lists_of_runs_hide_nothing_else(history: History) -> None:
    history.version("d:v1")
    history.run("good", ["d:v1"])
    (history.root / "p/n/runs/bad").mkdir()
    (history.root / "p/n/runs/bad/artifacts_used.json").write_text("{")
    assert ids(history.graph("d:v1")) == ["d:v1", "good"]


def test_graphs_can_be_built_and_read_back() -> None:
    graph = LineageGraph("a:v1")
    for _ in range(2):
        graph.add_node(LineageNode("artifact", "a:v1", "a v1", {"size": 1}))
        graph.add_edge(LineageEdge("r", "a:v1", "produces", 5.0))
    assert (len(graph.nodes), len(graph.edges)) == (1, 1)
    assert LineageGraph.from_dict(graph.to_dict()) == graph


def test_the_lists_of_runs_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runicorn_artifacts import lineage_tracker
    from runicorn_artifacts.lineage import VersionKey
    from runicorn_artifacts.lineage_tracker import FolderFacts

    run = tmp_path / "p/n/runs/20250114_150000_abc123"
    run.mkdir(parents=True)
    (run / "meta.json").write_text("{}")
    used = {"type": "model", "name": "net", "version": 1, "used_at": 5.0}
    (run / "artifacts_used.json").write_text(json.dumps({"artifacts": [used]}))
    real, read = lineage_tracker.read_json_object, list[str]()

    def note(path: Any, **options: Any) -> Any:
        read.append(Path(path).name)
        return real(path, **options)

    monkeypatch.setattr(lineage_tracker, "read_json_object", note)
    facts = FolderFacts(tmp_path)
    key = "p/n/runs/20250114_150000_abc123"
    for _ in range(3):
        assert [use.run for use in facts.uses_of(VersionKey("model", "net", 1))] == [key]
        assert [link.at for link in facts.used_by(key)] == [5.0]
        assert list(facts.created_by(key)) == []
    assert sorted(read) == ["artifacts_created.json", "artifacts_used.json"]
