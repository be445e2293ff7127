"""Search in logs, against reading all of them; the size of the index; and the runs that are most like another one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np

from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, timed
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_RUNS = 50
_SNIPPETS = 20
_TIMEOUT_S = 1800.0
_WORDS = 2000
_NEEDLES = {
    "in every block": "EPOCH 1",
    "a number": "loss=0.1234",
    "one line": "the needle in the hay",
    "two characters": "训练",
    "nowhere": "no such thing",
}


def logs(space: Workspace) -> Iterator[Row]:
    """Rows for search in logs and for their index."""
    size = space.size.log_mb * 1_000_000
    root, state = space.fresh("logs"), space.directory / "state-logs"
    _write_logs(root, size)
    with serving(root, state) as server:
        client = Client(server.url)
        started = time.monotonic()
        _wait(lambda: json.loads(client.get("/api/v2/search?q=x").body)["logs"]["state"] == "ready")
        took = time.monotonic() - started
        found: dict[str, Times] = {}
        for what, needle in _NEEDLES.items():
            path = f"/api/v2/search?kind=log&limit={_SNIPPETS}&q={quote(needle)}"
            hits = len(json.loads(client.get(path).body)["hits"])
            if hits != {"one line": 1, "nowhere": 0}.get(what, hits) or (hits == 0 and what != "nowhere"):
                raise RuntimeError(f"{needle} is found {hits} times")
            found[what] = Times(
                [timed(lambda path=path: client.get(path)) for _ in range(max(10, space.size.requests // 60))]
            )
        index = json.loads(client.get("/api/v2/search?q=x").body)["logs"]
        client.close()
    scan = Times([timed(lambda: _scan(root, _NEEDLES["one line"])) for _ in range(space.size.rounds)])
    worst = max(found.values(), key=lambda times: times.p50)
    share = index["index_bytes"] / index["log_bytes"]
    yield Row(
        name="log-search",
        what=f"Search in {space.size.log_mb} MB of logs, {_SNIPPETS} snippets",
        budget="≤ 30 ms",
        measured="; ".join(f"{what} {times}" for what, times in found.items()),
        baseline=f"{duration(scan.p50)}, without HTTP",
        ratio=scan.p50 / found["one line"].p50,
        met=worst.p50 <= 0.030 if space.size.name == "full" else None,
        values={**{f"p50 {what}": times.p50 for what, times in found.items()}, "baseline": scan.p50},
    )
    yield Row(
        name="log-search",
        what=f"Index of {space.size.log_mb} MB of logs, made at idle priority",
        budget="≤ 0.35 MB per MB",
        measured=f"{share:.3f} MB per MB, {amount(index['log_bytes'] / took / 1e6)} MB/s",
        met=share <= 0.35 if space.size.name == "full" else None,
        values={"share": share, "bytes_per_s": index["log_bytes"] / took},
    )


def similar(space: Workspace) -> Iterator[Row]:
    """The row for similar runs."""
    store = space.listed
    with serving(store.root, space.listed_state) as server:
        client = Client(server.url)
        server.wait_until_level(client, store.shape.runs)
        paths = [f"/api/v2/experiments/{run.run_id}/similar?k=10" for run in store.runs[:20]]
        started = time.monotonic()
        _wait(lambda: json.loads(client.get(paths[0]).body)["compared_runs"] == store.shape.runs)
        took = time.monotonic() - started
        rounds = max(1, space.size.requests // 300)
        times = Times([timed(lambda path=path: client.get(path)) for _ in range(rounds) for path in paths])
        client.close()
    yield Row(
        name="similar",
        what=f"The 10 runs that are most like one of {amount(store.shape.runs)}",
        measured=f"{times}; vectors of all runs in {duration(took)}, at idle priority",
        values={"p50": times.p50, "p99": times.p99, "build": took},
    )


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the index did not become complete")
        time.sleep(0.1)


def _write_logs(root: Path, size: int) -> None:
    """Logs of trainings: numbers of four digits, words, some Chinese; in one of them a needle."""
    random = np.random.default_rng(5)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = ["".join(random.choice(letters, int(length))) for length in random.integers(3, 10, _WORDS)]
    for number in range(_RUNS):
        directory = root / f"p{number % 3}" / "n" / "runs" / f"20250101_0000{number:02}_abcdef"
        directory.mkdir(parents=True)
        with open(directory / "logs.txt", "w", encoding="utf-8") as file:
            if number == _RUNS // 3:
                file.write("12:00:00 | the needle in the hay\n")
            step = 0
            while file.tell() < size // _RUNS:
                kinds = random.random(1000)
                for kind, loss, accuracy in zip(kinds, random.random(1000), random.random(1000), strict=True):
                    step += 1
                    clock = f"{12 + step // 3600 % 12}:{step // 60 % 60:02}:{step % 60:02} | "
                    if kind < 0.6:
                        text = f"epoch {step // 1000} step {step} loss={loss:.4f} acc={accuracy:.4f} lr=1.0e-03"
                    elif kind < 0.98:
                        text = " ".join(words[place] for place in random.integers(0, _WORDS, 8))
                    else:
                        text = f"训练 第{step}轮 损失 {loss:.3f} 准确率 {accuracy:.3f}"
                    file.write(f"{clock}{text}\n")


def _scan(root: Path, needle: str) -> int:
    """How 0.4.0's users searched: every line of every file."""
    found = 0
    folded = needle.casefold()
    for directory, _, names in os.walk(root):
        if "logs.txt" in names:
            with open(f"{directory}/logs.txt", encoding="utf-8", errors="ignore") as file:
                found += sum(folded in line.casefold() for line in file)
    return found
