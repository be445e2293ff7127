"""Reactions: at least once, in order, after the commit; a slow or failing plugin holds up nobody."""

from __future__ import annotations

import json

import pytest

from runicorn.events.append import StreamWriter
from tests.core.projection.test_projector_process import COUNTING, created, is_level, lines, points
from tests.stores import make_run

NOTING = """
    import json, os, pathlib, time
    from runicorn.plugin import hookimpl, decode_data

    FILE = pathlib.Path(__file__).with_suffix(".heard")

    @hookimpl
    def runicorn_on_events(events):
        {before}
        with FILE.open("a") as file:
            for one in events:
                data = decode_data(one.event)
                file.write(json.dumps([one.stream.name, one.offset, data.get("global_step")]) + "\\n")
        {after}
"""


@pytest.fixture
def heard(plugins):
    """A function: what a plugin was told, in order."""

    def read(name: str = "noting") -> list[list[object]]:
        path = plugins.directory / f"{name}.heard"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


def steps(told: list[list[object]]) -> list[object]:
    """Of the metric events only: that a run was observed is an event, too."""
    return [step for _, _, step in told if step is not None]


def test_a_new_plugin_hears_what_is_appended_from_then_on(root, start, plugins, heard):
    plugins.add("noting", NOTING.format(before="", after=""))
    run = make_run(root, "p/n/runs/one", events=created("one") + lines(10) + b'{"ts": 5, "type"')
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: is_level(projector))
    StreamWriter(run / "events.jsonl").append(lines(3, first=100))
    projector.wait_until(lambda: steps(heard()) == [100, 101, 102])
    projector.stop()
    StreamWriter(run / "events.jsonl").append(lines(3, first=200))  # while it is not listening
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: steps(heard()) == [100, 101, 102, 200, 201, 202])
    make_run(root, "p/n/runs/two", events=lines(2, first=300))
    projector.wait_until(lambda: steps(heard())[6:] == [300, 301])


@pytest.mark.slow
def test_every_event_is_heard_at_least_once_and_in_order_across_kills(root, start, plugins, heard):
    plugins.add("noting", NOTING.format(before="", after=""))
    run = make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: is_level(projector))
    writer = StreamWriter(run / "events.jsonl")
    written = 0
    for _ in range(6):
        goal = len(heard()) + 300

        def write_until_heard(goal: int = goal) -> bool:
            nonlocal written
            writer.append(lines(40, first=written))
            written += 40
            return len(heard()) >= goal

        projector.wait_until(write_until_heard)
        projector.kill()
        projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: bool(heard()) and steps(heard())[-1] == written - 1)
    told = steps(heard())
    assert set(told) == set(range(written))
    first_time: list[object] = list(dict.fromkeys(told))
    assert first_time == list(range(written))


def test_an_exception_is_followed_by_the_same_events_again(root, start, plugins, heard):
    plugins.add(
        "noting",
        NOTING.format(before="", after="if not FILE.with_suffix('.ok').exists(): raise OSError('no network')"),
    )
    run = make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: is_level(projector))
    StreamWriter(run / "events.jsonl").append(lines(2))
    projector.wait_until(lambda: steps(heard()) == [0, 1] and "no network" in projector.log.read_text())
    (plugins.directory / "noting.ok").touch()
    projector.wait_until(lambda: steps(heard()) == [0, 1, 0, 1])
    StreamWriter(run / "events.jsonl").append(lines(1, first=7))
    projector.wait_until(lambda: steps(heard()) == [0, 1, 0, 1, 7])


def test_a_slow_plugin_holds_up_neither_the_read_models_nor_other_plugins(root, start, plugins, heard):
    plugins.add("slow", NOTING.format(before="time.sleep(3600)", after=""))
    plugins.add("noting", NOTING.format(before="", after=""))
    run = make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,slow,noting")
    projector.wait_until(lambda: is_level(projector))
    for number in range(3):
        StreamWriter(run / "events.jsonl").append(lines(1, first=number))
        projector.wait_until(lambda number=number: points(projector) == number + 2 and len(heard()) == number + 1)
    assert heard("slow") == []
    assert projector.stop() == 0  # nor the end of the process


def test_a_replaced_stream_is_heard_from_its_start(root, start, plugins, heard):
    plugins.add("noting", NOTING.format(before="", after=""))
    run = make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: is_level(projector))
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").write_bytes(lines(20, first=50))
    projector.wait_until(lambda: steps(heard())[-20:] == list(range(50, 70)))


def test_events_that_only_a_stopped_read_model_lacks_are_heard(root, start, plugins, heard):
    plugins.add("noting", NOTING.format(before="", after=""))
    plugins.add("failing", COUNTING.format(version=1, column="x", apply="raise ValueError('no')"))
    run = make_run(root, "p/n/runs/one", events=created("one"))
    projector = start(plugins_selected="runs,noting")
    projector.wait_until(lambda: is_level(projector))
    projector.stop()
    StreamWriter(run / "events.jsonl").append(lines(2, first=5))
    projector = start(plugins_selected="runs")
    projector.wait_until(lambda: points(projector) == 3)
    projector.stop()
    projector = start(plugins_selected="runs,noting,failing")
    projector.wait_until(lambda: steps(heard()) == [5, 6])
