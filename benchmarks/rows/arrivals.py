"""Many runs arrive at once: whether the server answers while it adopts a store, and while it imports an archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, timed
from benchmarks.prober import probed
from benchmarks.served import Served, own_environment, serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace

_LONGEST_STALL_S = 0.1
_IMPORT_S = 1800.0


def health(space: Workspace) -> Iterator[Row]:
    """A row for `GET /api/health` while a store's runs are moved into an empty root, and one while its archive is imported."""
    store = space.listed
    runs = store.shape.runs
    copied, root = space.directory / "listed-again", space.fresh("adopted")
    shutil.copytree(store.root, copied, ignore=shutil.ignore_patterns(".runicorn"))
    what = f"{amount(runs)} runs that 0.4.0 wrote are moved into the root"
    with serving(root, space.directory / "state-adopted") as server:
        yield _row(space, what, server, lambda: (_move(copied, root), _level(server, runs)))
    archive = space.fresh("exported") / "all.tar.gz"
    state = space.directory / "state-adopted"
    command = [sys.executable, "-m", "runicorn", "export", "--storage", str(store.root), "--out", str(archive)]
    subprocess.run(command, check=True, capture_output=True, env=own_environment(state))
    what = f"an archive of {amount(runs)} runs ({archive.stat().st_size / 1e6:.1f} MB) is imported"
    with serving(space.fresh("imported"), space.directory / "state-imported") as server:
        yield _row(space, what, server, lambda: (_import(server, archive), _level(server, runs)))


def _row(space: Workspace, what: str, server: Served, action: Callable[[], object]) -> Row:
    took: list[float] = []
    times: Times = probed(server, "/api/health", lambda: took.append(timed(action)))
    return Row(
        name="arrivals",
        what=f"`GET /api/health` while {what}",
        budget="p99 ≤ 100 ms",
        measured=f"{times} of {amount(len(times))} requests, longest {duration(times.worst)}; level after {duration(took[0])}",
        met=times.p99 <= _LONGEST_STALL_S if space.size.name == "full" else None,
        values={"p50": times.p50, "p99": times.p99, "worst": times.worst, "seconds": took[0]},
    )


def _move(source: Path, root: Path) -> None:
    for entry in source.iterdir():
        entry.rename(root / entry.name)


def _level(server: Served, runs: int) -> None:
    client = Client(server.url)
    server.wait_until_level(client, runs)
    client.close()


def _import(server: Served, archive: Path) -> None:
    with archive.open("rb") as file:
        answer = httpx.post(f"{server.url}/api/import/archive", files={"file": (archive.name, file)}, timeout=_IMPORT_S)
    if answer.status_code != 200:
        raise RuntimeError(f"the import is answered with {answer.status_code}: {answer.text[:200]}")
