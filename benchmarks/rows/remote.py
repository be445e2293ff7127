"""Another machine behind a delay: the first mirror, the first push, a look at all of it, and what its silence holds up."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.delaying_proxy import Counts, DelayedPort, delaying
from benchmarks.figures import Times, amount, duration, mebibytes, timed
from benchmarks.prober import probed
from benchmarks.processes import hear, running, tell
from benchmarks.served import Served, own_environment, serving
from benchmarks.store import Shape, write_store
from benchmarks.table import Row
from benchmarks.workspace import Workspace
from tests.sshd import Sshd, SshdNotFound

_DELAY_S = 0.02
_DEADLINE_S = 900.0
_CALL_S = 60.0
_SCANS = 5
_HEALTH_S = 0.1


def mirror_and_push(space: Workspace) -> Iterator[Row]:
    """Rows for the first mirror of many small runs, for a look at what is level, and for the first push of as many."""
    with _machine(space, "mirrored") as there:
        if there is None:
            yield _without_sshd("remote")
            return
        with delaying(there.sshd.host, there.sshd.port, _DELAY_S) as proxy:
            yield from _mirror(there, proxy)
            yield from _scans(there, proxy)
            yield from _push(there, proxy)


def health(space: Workspace) -> Iterator[Row]:
    """A row for `GET /api/health` in each situation in which another machine could hold it up."""
    with _machine(space, "silent") as there:
        if there is None:
            yield _without_sshd("remote-health")
            return
        with (
            delaying(there.sshd.host, there.sshd.port, _DELAY_S) as proxy,
            serving(there.local, there.state, home=there.home) as server,
        ):
            api = _Api(server)
            before = proxy.counts()
            syncs: list[float] = []
            times = probed(server, "/api/health", lambda: syncs.append(timed(lambda: _sync(there, api, proxy))))
            yield Row(
                name="remote-health",
                what=f"first sync of the metadata of {amount(there.runs)} runs (smart mode), 40 ms round trip",
                measured=f"{duration(syncs[0])}; {_passed(counts := proxy.counts().since(before))}",
                values={"seconds": syncs[0], **_figures(counts)},
            )
            yield _health_row(space, f"a first sync of {amount(there.runs)} runs", times)
            with _mute() as port:
                login = {**there.login, "port": port}
                times = probed(
                    server, "/api/health", lambda: _stalled(api, "/api/unified/connect", login, space.size.stalled_s)
                )
            yield _health_row(space, "a connect to a port that never answers", times)
            yield from _frozen(space, there, server, api)


def _frozen(space: Workspace, there: _Machine, server: Served, api: _Api) -> Iterator[Row]:
    """Rows for `/api/health` while a server that has stopped is listed, verified, and its mirror ended."""
    api.post("/api/remote/connect", {**there.login, "remote_root": str(there.root), "auto_sync": False})
    api.post("/api/unified/connect", there.login)
    mode = {"mode": "mirror", "remote_root": str(there.elsewhere), "mirror_interval": 0.5}
    task = api.post("/api/unified/configure_mode", mode)["task"]["id"]
    _wait(lambda: api.get("/api/ssh/mirror/list")["mirrors"][0]["state"] == "watching")
    there.sshd.freeze()
    try:
        times = probed(server, "/api/health", lambda: _stalled(api, "/api/unified/listdir", None, space.size.stalled_s))
        yield _health_row(space, "a listing on a frozen server", times)
        # It gives up after 5 s: asked as often as it takes.
        times = probed(
            server, "/api/health", lambda: _for_a_while(lambda: api.get("/api/remote/verify"), space.size.stalled_s)
        )
        yield _health_row(space, "a check of a frozen server (`/api/remote/verify`)", times)
        times = probed(server, "/api/health", lambda: api.post("/api/ssh/mirror/stop", {"task_id": task}))
        yield _health_row(space, "the end of a mirror on a frozen server", times)
    finally:
        there.sshd.thaw()


class _Machine:
    """The other machine: an SSH server, a storage root, and a home directory for whoever connects to it."""

    def __init__(self, space: Workspace, name: str, sshd: Sshd) -> None:
        self.sshd = sshd
        self.home = space.fresh(f"{name}-home")
        self.root = space.fresh(f"{name}-there")
        self.elsewhere = space.fresh(f"{name}-pushed")
        self.local = space.fresh(f"{name}-here")
        self.state = space.fresh(f"{name}-served/state")
        self.runs = space.size.remote_runs
        for run in write_store(self.root, Shape(runs=self.runs, events=25, metrics=2, writer="0.4.0")):
            (self.root / run.key / "logs.txt").write_text("".join(f"epoch {number}\n" for number in range(25)))
        self.files = sum(path.is_file() for path in self.root.rglob("*"))
        self.login = {
            "host": sshd.host,
            "port": sshd.port,
            "username": sshd.username,
            "private_key_path": str(sshd.private_key_path),
            "use_agent": False,
        }


@contextlib.contextmanager
def _machine(space: Workspace, name: str) -> Generator[_Machine | None]:
    """None where OpenSSH's server is not installed."""
    try:
        sshd = Sshd(home=space.directory / f"{name}-there-home")
    except SshdNotFound:
        yield None
        return
    with sshd:
        yield _Machine(space, name, sshd)


def _mirror(there: _Machine, proxy: DelayedPort) -> Iterator[Row]:
    with serving(there.local, there.state, home=there.home) as server:
        api = _Api(server)
        api.post("/api/unified/connect", {**there.login, "port": proxy.port})
        before, started = proxy.counts(), time.perf_counter()
        mode = {"mode": "mirror", "remote_root": str(there.root), "mirror_interval": 2.0}
        api.post("/api/unified/configure_mode", mode)
        _wait(lambda: api.get("/api/ssh/mirror/list")["mirrors"][0]["stats"]["copied_files"] >= there.files)
        seconds = time.perf_counter() - started
        counts = proxy.counts().since(before)
        api.post("/api/unified/disconnect", {"force": True})
    yield Row(
        name="remote",
        what=f"first mirror of {amount(there.runs)} runs ({amount(there.files)} files), 40 ms round trip",
        measured=f"{duration(seconds)}; {_passed(counts)}",
        values={"seconds": seconds, **_figures(counts)},
    )


def _scans(there: _Machine, proxy: DelayedPort) -> Iterator[Row]:
    sshd = there.sshd
    key = str(sshd.private_key_path)
    environment = own_environment(there.state, home=there.home)
    arguments = (sshd.host, str(proxy.port), sshd.username, key, str(there.root), str(_SCANS))
    with running("benchmarks.remote_scans", *arguments, environment=environment) as process:
        hear(process)
        before = proxy.counts()
        tell(process)
        times = Times(json.loads(hear(process)))
        counts = proxy.counts().since(before)
    yield Row(
        name="remote",
        what=f"… a look at all {amount(there.files)} files when nothing has changed",
        measured=f"p50 {duration(times.p50)}; {_passed(counts, _SCANS)} each",
        values={"p50": times.p50, **_figures(counts, _SCANS)},
    )


def _push(there: _Machine, proxy: DelayedPort) -> Iterator[Row]:
    sshd = there.sshd
    target = f"ssh://{sshd.username}@{sshd.host}:{proxy.port}{there.elsewhere}"
    command = [sys.executable, "-m", "runicorn", "remote", "push", "--all", "--storage", str(there.root)]
    environment = own_environment(there.state, home=there.home)
    for what in (f"first push of the same {amount(there.runs)} runs", "… pushed again, with nothing new"):
        before, started = proxy.counts(), time.perf_counter()
        subprocess.run(
            [*command, "-i", str(sshd.private_key_path), target],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
            timeout=_DEADLINE_S,
        )
        seconds = time.perf_counter() - started
        counts = proxy.counts().since(before)
        yield Row(
            name="remote",
            what=what,
            measured=f"{duration(seconds)}; {_passed(counts)}",
            values={"seconds": seconds, **_figures(counts)},
        )


def _sync(there: _Machine, api: _Api, proxy: DelayedPort) -> None:
    """The first sync of smart mode, to its end."""
    login = {**there.login, "port": proxy.port, "remote_root": str(there.root), "auto_sync": True}
    api.post("/api/remote/connect", login)
    _wait(lambda: api.get("/api/remote/status")["sync_progress"]["status"] != "running")
    status = api.get("/api/remote/status")
    if status["stats"]["cached_experiments"] != there.runs:
        raise RuntimeError(f"the sync did not bring all runs: {status}")
    api.post("/api/remote/disconnect", {})


def _health_row(space: Workspace, situation: str, times: Times) -> Row:
    return Row(
        name="remote-health",
        what=f"`GET /api/health` during {situation}",
        budget="p99 ≤ 100 ms",
        measured=f"{times} of {amount(len(times))} requests",
        met=times.p99 <= _HEALTH_S if space.size.name == "full" else None,
        values={"p50": times.p50, "p99": times.p99, "worst": times.worst},
    )


def _stalled(api: _Api, path: str, body: object, seconds: float) -> None:
    """Have a request under way for so long; how it ends does not matter."""

    def ask() -> None:
        with contextlib.suppress(OSError, RuntimeError):
            api.call("GET" if body is None else "POST", path, body)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not thread.is_alive():
        raise RuntimeError(f"{path} was answered, and should have had nothing to answer with")


def _for_a_while(ask: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ask()


@contextlib.contextmanager
def _mute() -> Generator[int]:
    """A port on which somebody listens and never speaks."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        yield int(listener.getsockname()[1])


class _Api:
    """Calls of a server, each on a connection of its own and with a deadline."""

    def __init__(self, server: Served) -> None:
        address = urlsplit(server.url)
        self._host, self._port = address.hostname or "", address.port

    def get(self, path: str) -> Any:
        """The answer of a GET."""
        return self.call("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        """The answer of a POST. RuntimeError if it is an error."""
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: object) -> Any:
        connection = HTTPConnection(self._host, self._port, timeout=_CALL_S)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {answer[:200]!r}")
        return json.loads(answer)


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError("another machine was not followed in time")
        time.sleep(0.05)


def _without_sshd(name: str) -> Row:
    return Row(name=name, what="another machine over SSH", measured="not measured: OpenSSH's sshd is not installed")


def _passed(counts: Counts, rounds: int = 1) -> str:
    size, turns = (counts.sent + counts.received) / rounds, counts.turns / rounds
    return f"{mebibytes(size)}, {amount(turns)} round trips"


def _figures(counts: Counts, rounds: int = 1) -> dict[str, float]:
    return {
        "sent": counts.sent / rounds,
        "received": counts.received / rounds,
        "round_trips": counts.turns / rounds,
        "connections": float(counts.connections),
    }
