"""What clients are told of commits: in this process, with a real log and commits by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.events.log import FileLog
from runicorn.plugin import News, StorageUnavailable
from runicorn_runs.live import hub as hubs
from runicorn_runs.live.filters import Wanted
from runicorn_runs.live.hub import Listener, LiveHub
from runicorn_runs.live.notices import Notice
from runicorn_runs.live.recent import Recent
from runicorn_runs.live.stream import LiveStreams, SlowClient
from tests.stores import metrics_event, write

EVERYTHING = Wanted.read((), (), ())


class Store:
    """A store whose commits are made by hand; its read model is not there, so runs have the names of their directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = FileLog(root, root / "state")
        self.leaving = asyncio.Event()
        self.queue: asyncio.Queue[list[News]] = asyncio.Queue()
        self.commits: list[News] = []
        self.sizes: dict[str, int] = {}

    async def news(self) -> AsyncIterator[list[News]]:
        yield self.commits or [News("e", 0, after_gap=True)]
        while True:
            yield await self.queue.get()

    def model(self, name: str) -> Any:
        raise StorageUnavailable

    def append(self, run: str, line: str) -> None:
        directory = self.root / run
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / "events.jsonl", "a") as file:
            file.write(line)

    def commit(self, *runs: str, tell: bool = True) -> None:
        ranges = []
        for run in dict.fromkeys(runs):
            end = (self.root / run / "events.jsonl").stat().st_size
            ranges.append((run, self.sizes.get(run, 0), end))
            self.sizes[run] = end
        self.commits.append(News("e", len(self.commits) + 1, ranges))
        if tell:
            self.queue.put_nowait([self.commits[-1]])


def run_async(root: Path, test: Callable[[Store, LiveHub], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store(root)
        hub = LiveHub(store)  # type: ignore[arg-type] - what of a store it uses
        async with asyncio.timeout(30):
            await test(store, hub)
        await hub.close()

    asyncio.run(main())


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what changes has no event
        await asyncio.sleep(0.005)


def custom(n: int) -> str:
    return f'{{"ts": {n}, "type": "thing.happened", "data": {n}}}\n'


def test_a_slow_client_hears_of_the_metrics_of_a_run_once(tmp_path: Path) -> None:
    async def test(store: Store, hub: LiveHub) -> None:
        await hub.open()
        listener = Listener(EVERYTHING)
        hub.join(listener, None)
        for step in range(5):
            for run in ("p/n/runs/a", "p/n/runs/b"):
                store.append(run, metrics_event(global_step=step))
            store.commit("p/n/runs/a", "p/n/runs/b")
            await eventually(lambda step=step: hub.position() == f"e.{step + 1}")
        taken = hub.take(listener)
        assert taken is not None
        assert sorted((n.run, n.events, n.step) for n in taken) == [("p/n/runs/a", 5, 4), ("p/n/runs/b", 5, 4)]
        assert hub.take(listener) == []

    run_async(tmp_path, test)


def test_a_client_that_falls_out_of_memory_gets_a_reset_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "Recent", lambda floor, base=0: Recent(floor, base=base, max_notices=8))

    async def test(store: Store, hub: LiveHub) -> None:
        streams = LiveStreams(store)  # type: ignore[arg-type] - what of a store it uses
        slow = streams.messages(EVERYTHING, None, None)
        assert [notice.type for notice in await anext(slow)] == ["hello"]
        idle = streams.messages(Wanted.read(["other"], (), ()), None, None)
        await anext(idle)
        quick = streams.messages(EVERYTHING, None, None)
        await anext(quick)
        for n in range(30):
            store.append("p/n/runs/a", custom(n))
            store.commit("p/n/runs/a")
            assert [notice.data for notice in await anext(quick)] == [n]
        assert [notice.type for notice in await anext(slow)] == ["reset"]
        with pytest.raises(SlowClient):
            await anext(slow)
        store.append("p/n/runs/other", custom(99))  # what was not for it does not hurt a client
        store.commit("p/n/runs/other")
        assert [notice.data for notice in await anext(idle)] == [99]
        await streams.close()

    run_async(tmp_path, test)


def test_silence_is_interrupted_by_heartbeats_with_the_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runicorn_runs.live.stream.HEARTBEAT_S", 0.02)

    async def test(store: Store, hub: LiveHub) -> None:
        streams = LiveStreams(store)  # type: ignore[arg-type] - what of a store it uses
        messages = streams.messages(Wanted.read(["other"], (), ()), None, None)
        assert (await anext(messages))[0].position == "e.0"
        store.append("p/n/runs/a", custom(1))
        store.commit("p/n/runs/a")
        while (heartbeat := (await anext(messages))[0]).position != "e.1":
            assert heartbeat.type == "heartbeat"
        await streams.close()

    run_async(tmp_path, test)


def test_a_new_epoch_is_a_reset_for_all(tmp_path: Path) -> None:
    async def test(store: Store, hub: LiveHub) -> None:
        await hub.open()
        listener = Listener(Wanted.read(["other"], (), ()))
        hub.join(listener, None)
        store.queue.put_nowait([News("f", 0, after_gap=True)])
        await listener.news.wait()
        taken = hub.take(listener)
        assert taken is not None
        assert [(notice.type, notice.position) for notice in taken] == [("reset", "f.0")]
        assert hub.join(Listener(EVERYTHING), "e.0").type == "reset"

    run_async(tmp_path, test)


def test_who_joins_while_read_models_are_built_gets_a_reset_when_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "_OPEN_S", 0.01)

    async def test(store: Store, hub: LiveHub) -> None:
        built = asyncio.Event()

        async def news() -> AsyncIterator[list[News]]:
            await built.wait()
            yield [News("e", 0, after_gap=True)]
            await asyncio.Event().wait()

        monkeypatch.setattr(store, "news", news)
        await hub.open()
        listener = Listener(EVERYTHING)
        assert hub.join(listener, None).type == "hello"
        built.set()
        await listener.news.wait()
        assert [notice.type for notice in hub.take(listener) or []] == ["reset"]

    run_async(tmp_path, test)


def test_a_thousand_idle_clients_cost_no_task_and_leave_nothing(tmp_path: Path) -> None:
    async def test(store: Store, hub: LiveHub) -> None:
        await hub.open()
        tasks = len(asyncio.all_tasks())
        listeners = [Listener(Wanted.read([f"run{n}"], (), ())) for n in range(5000)]
        for listener in listeners:
            hub.join(listener, None)
        assert len(asyncio.all_tasks()) == tasks
        store.append("p/n/runs/run7", custom(1))
        store.commit("p/n/runs/run7")
        await listeners[7].news.wait()
        assert not any(listener.news.is_set() for n, listener in enumerate(listeners) if n != 7)
        for listener in listeners:
            hub.leave(listener)
        assert not hub._listeners

    run_async(tmp_path, test)


Step = tuple[str, str]
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["metrics", "thing", "commit"])), max_size=30)


@settings(max_examples=60)
@given(steps=STEPS, resume=st.floats(0, 1))
def test_from_every_position_on_nothing_is_missed(steps: list[Step], resume: float) -> None:
    """Whatever is logged by whom and committed in which portions, and wherever a client goes on."""

    async def test(store: Store, hub: LiveHub) -> None:
        await hub.open()
        listener = Listener(EVERYTHING)
        heard = [hub.join(listener, None)]
        number, pending = 0, []
        for name, what in [*steps, ("a", "commit")]:
            run = f"p/n/runs/{name}"
            if what == "commit":
                if pending:
                    store.commit(*pending)
                    pending = []
                    await asyncio.sleep(0)
                continue
            number += 1
            store.append(run, metrics_event(global_step=number) if what == "metrics" else custom(number))
            pending.append(run)
        await eventually(lambda: hub.position() == f"e.{len(store.commits)}")
        heard += hub.take(listener) or []
        assert _said(heard) == _expected(store, 0)

        cut = heard[: 1 + int(resume * (len(heard) - 1))]
        again = Listener(EVERYTHING)
        rest = [hub.join(again, cut[-1].position), *(hub.take(again) or [])]
        assert rest[0].type == "hello"
        position = int(cut[-1].position.partition(".")[2])
        assert _said(cut)[0] | _said(rest)[0] == _expected(store, 0)[0]
        assert all(count <= _said(rest)[1].get(run, 0) for run, count in _expected(store, position)[1].items())

        other = LiveHub(store)  # type: ignore[arg-type] - what of a store it uses; a worker that starts now knows it, too
        await other.open()
        third = Listener(EVERYTHING)
        assert other.join(third, cut[-1].position).type == "hello"
        await eventually(lambda: other.position() == f"e.{len(store.commits)}")
        assert _expected(store, position)[0] <= _said(other.take(third) or [])[0]
        await other.close()

    with TemporaryDirectory() as directory:
        run_async(Path(directory), test)


def _said(notices: Sequence[Notice]) -> tuple[set[int], dict[str, int]]:
    """The things that happened, and how many metrics of each run."""
    counts: dict[str, int] = {}
    for notice in notices:
        if notice.events:
            counts[notice.stream] = counts.get(notice.stream, 0) + notice.events
    return {notice.data for notice in notices if notice.type == "thing.happened"}, counts


def _expected(store: Store, after: int) -> tuple[set[int], dict[str, int]]:
    things: set[int] = set()
    counts: dict[str, int] = {}
    for commit in store.commits[after:]:
        for stream, start, end in commit.ranges:
            for line in (store.root / stream / "events.jsonl").read_bytes()[start:end].splitlines():
                if b"thing" in line:
                    things.add(int(line.split(b'"data": ')[1].rstrip(b"}")))
                else:
                    counts[stream] = counts.get(stream, 0) + 1
    return things, counts


def test_a_stream_that_is_no_longer_what_it_was_is_passed_over(tmp_path: Path) -> None:
    async def test(store: Store, hub: LiveHub) -> None:
        await hub.open()
        listener = Listener(EVERYTHING)
        hub.join(listener, None)
        store.append("p/n/runs/a", custom(1) * 5)
        store.append("p/n/runs/b", custom(2))
        store.commit("p/n/runs/a", "p/n/runs/b", tell=False)
        write(tmp_path / "p/n/runs/a/events.jsonl", "short")
        store.queue.put_nowait([store.commits[-1]])
        await listener.news.wait()
        assert [notice.data for notice in hub.take(listener) or []] == [2]

    run_async(tmp_path, test)
