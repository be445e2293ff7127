"""Whole histories: whatever cycles there are, they end; nothing is counted twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runicorn_artifacts.lineage import Link, RunNode, Use, VersionKey, VersionNode
from runicorn_artifacts.reach import MAX_VERSIONS, ancestry, impact, label
from runicorn_artifacts.recipes import provenance


def key(number: int) -> VersionKey:
    return VersionKey("model", "net", number)


class Runs:
    """Facts of runs, each with the versions that it used and made."""

    def __init__(self, runs: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> None:
        self._runs = runs
        self._makers = {version: run for run, (_, made) in runs.items() for version in made}
        self._users: dict[int, list[str]] = {}
        for run, (used, _) in runs.items():
            for version in dict.fromkeys(used):
                self._users.setdefault(version, []).append(run)

    def version(self, key: VersionKey) -> VersionNode | None:
        return VersionNode(1, 1.0, "ready", self._makers.get(key.version, ""))

    def run(self, key: str) -> RunNode:
        return RunNode(key, None, None)

    def run_named(self, run_id: str) -> str:
        return run_id

    def created_by(self, run: str) -> Sequence[Link]:
        return [Link(key(version), 1.0) for version in self._runs[run][1]]

    def used_by(self, run: str) -> Sequence[Link]:
        return [Link(key(version), 1.0) for version in self._runs[run][0]]

    def uses_of(self, key: VersionKey) -> Sequence[Use]:
        return [Use(run, 1.0) for run in self._users.get(key.version, [])]


VERSIONS = st.lists(st.integers(1, 8), max_size=4)
HISTORIES = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.tuples(VERSIONS, VERSIONS))


@given(HISTORIES)
def test_impact_is_the_closure_of_one_step(runs: Mapping[str, tuple[list[int], list[int]]]) -> None:
    closure, grows = {1}, True
    while grows:
        step = {made for used, made_ in runs.values() if closure & set(used) for made in made_}
        grows = not step <= closure
        closure |= step
    found = impact(Runs(runs), key(1))
    assert found is not None
    assert found.is_all
    assert sorted(version.version for version in found.versions) == sorted(closure - {1})


@given(HISTORIES)
def test_a_recipe_has_each_run_once_and_after_those_that_it_needs(
    runs: Mapping[str, tuple[list[int], list[int]]],
) -> None:
    found = ancestry(Runs(runs), key(1))
    assert found is not None
    steps = provenance(Path("nowhere"), found).steps
    order = [step.run_id for step in steps]
    assert sorted(order) == sorted({run.run_id for run in found.runs})
    is_acyclic = all(max([*used, 0]) < min([*made, 99]) for used, made in runs.values())
    if is_acyclic:
        for position, step in enumerate(steps):
            for later in steps[position + 1 :]:
                assert not set(later.outputs) & set(step.inputs)


def test_a_history_that_is_too_long_says_so() -> None:
    found = impact(Runs({"r": ([1], range(2, MAX_VERSIONS + 5))}), key(1))
    assert found is not None
    assert len(found.versions) == MAX_VERSIONS - 1
    assert not found.is_all


def test_a_long_chain_is_followed_to_its_end() -> None:
    chain = {f"r{number}": ([number], [number + 1]) for number in range(1, 5000)}
    down, up = impact(Runs(chain), key(1)), ancestry(Runs(chain), key(5000))
    assert down is not None
    assert up is not None
    assert down.versions[-1].artifact == label(key(5000))
    assert (len(down.versions), down.versions[-1].distance, up.versions[-1].distance) == (4999, 4999, 4999)


def test_a_file_that_no_tracker_wrote_is_not_read_into_a_recipe(tmp_path: Path) -> None:
    run = tmp_path / "p/n/runs/20250114_150000_abc123"
    run.mkdir(parents=True)
    (run / "meta.json").write_text("{}")
    (run / "environment.json").write_text(json.dumps({"python_version": "3.12", "pip_packages": []}))
    name = "p/n/runs/20250114_150000_abc123"
    found = ancestry(Runs({name: ([], [1])}), key(1))
    assert found is not None
    [step] = provenance(tmp_path, found).steps
    assert step.environment is not None
    (run / "environment.json").write_text(json.dumps({"python_version": "3.12", "x": "x" * (4 << 20)}))
    [step] = provenance(tmp_path, found).steps
    assert step.environment is None
