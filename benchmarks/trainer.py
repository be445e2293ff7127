"""Training processes: `python -m benchmarks.trainer <mode> …`, started by the rows that measure the SDK.

| mode        | does                                                                    | prints                           |
|-------------|-------------------------------------------------------------------------|----------------------------------|
| `calls`     | `log()` and the baseline's, in alternating blocks                       | seconds of each call             |
| `lives`     | `init`, one `log`, `finish`, and the baseline's, alternating            | seconds of each run              |
| `steps`     | `init`; after a line of input `log()` at a steady pace                  | the run's id; when each step was |
| `endings`   | after a line of input `init` and `finish`, again and again              | id, and when `finish` was called |
| `busy`      | computes without a pause and logs every step, until its input ends      | an empty line once it logs       |

Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter, sleep

import runicorn as rn
from benchmarks import baseline

_BLOCK = 500
_WARM_UP = 200


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


def _metrics(step: int) -> dict[str, float]:
    progress = step / 1000
    return {"loss": 2.3 * math.exp(-progress) + 0.01 * math.sin(step), "accuracy": 1 - math.exp(-progress)}


def _init(storage: Path, project: str) -> rn.Run:
    return rn.init(project, str(storage), capture_env=False)


def calls(storage: Path, count: int) -> None:
    """Times of `log()` calls, ours and the baseline's, `count` of each."""
    ours, theirs = _init(storage / "ours", "calls"), baseline.Run("calls", storage / "theirs")
    own_times, their_times = list[float](), list[float]()
    for step in range(_WARM_UP):
        ours.log(_metrics(step))
        theirs.log(_metrics(step))
    while len(own_times) < count:
        for log, times in ((ours.log, own_times), (theirs.log, their_times)):
            for step in range(min(_BLOCK, count)):
                data = _metrics(step)
                start = perf_counter()
                log(data)
                times.append(perf_counter() - start)
    ours.finish()
    theirs.finish()
    _say({"ours": own_times[:count], "theirs": their_times[:count]})


def lives(storage: Path, count: int) -> None:
    """Times of whole runs that log once, ours and the baseline's, `count` of each."""
    own_times, their_times = list[float](), list[float]()
    for number in range(count + 3):
        start = perf_counter()
        ours = _init(storage / "ours", "lives")
        ours.log({"loss": 0.5})
        ours.finish()
        middle = perf_counter()
        theirs = baseline.Run("lives", storage / "theirs")
        theirs.log({"loss": 0.5})
        theirs.finish()
        end = perf_counter()
        if number >= 3:
            own_times.append(middle - start)
            their_times.append(end - middle)
    _say({"ours": own_times, "theirs": their_times})


def steps(storage: Path, count: int, rate: float) -> None:
    """Log `count` steps, `rate` a second; say when each `log()` was about to be called."""
    run = _init(storage, "steps")
    _say({"id": run.id, "key": run.run_dir.relative_to(storage).as_posix()})
    sys.stdin.readline()
    sent: list[float] = []
    for step in _paced(count, rate):
        data = _metrics(step)
        sent.append(monotonic())
        run.log(data, step=step)
    _say(sent)
    sys.stdin.readline()  # the run stays as it is until the reader has seen it all
    run.finish()


def endings(storage: Path, count: int) -> None:
    """Begin a run, log once, and end it a little later, `count` times."""
    for _ in range(count):
        sys.stdin.readline()
        begun = monotonic()
        run = _init(storage, "endings")
        run.log({"loss": 0.5})
        _say({"id": run.id, "begun": begun})
        sys.stdin.readline()
        ended = monotonic()
        run.finish()
        _say({"id": run.id, "ended": ended})


def busy(storage: Path) -> None:
    """Keep one processor busy, about 0.5 ms of work for each logged step."""
    run = _init(storage, "busy")
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    _say("")
    step = 0
    while not ended.is_set():
        step += 1
        sum(math.sqrt(number) for number in range(5_000))
        run.log(_metrics(step))
    run.finish()


def _paced(count: int, rate: float) -> Iterator[int]:
    start = monotonic()
    for step in range(1, count + 1):
        sleep(max(0.0, start + step / rate - monotonic()))
        yield step


def main() -> None:
    """Run one mode."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer")
    parser.add_argument("mode", choices=("calls", "lives", "steps", "endings", "busy"))
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0)
    arguments = parser.parse_args()
    storage: Path = arguments.storage
    match arguments.mode:
        case "calls":
            calls(storage, arguments.count)
        case "lives":
            lives(storage, arguments.count)
        case "steps":
            steps(storage, arguments.count, arguments.rate)
        case "endings":
            endings(storage, arguments.count)
        case _:
            busy(storage)


if __name__ == "__main__":
    main()
