"""Real trainers, servers and commands on one root, and the one check that every fault has to leave true.

A scenario starts what it needs from a `Scene`, injects its fault, takes it away, and calls `check`, which says:

1. No event is lost that was acknowledged: each step for which `log()` returned, each command that was answered with 200.
2. None is doubled: those, and those of which nobody knows, are in the log at most once, and in order.
3. Answers equal those of a fresh replay in another state directory, and those of the files themselves.
4. `runicorn events verify` finds nothing wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from tests.faults.moved_world import World
from tests.recorded import wait_until_live
from tests.reference_metrics import metrics_step
from tests.serving import Server, wait_until

SCRIPT = Path(__file__).with_name("trainer.py")
END_S = 60.0
_RUNS_ASKED = 200  # of larger stores the lists are compared whole, and the newest runs one by one
# How long a query took; and a cursor, which says where to go on in these read models alone.
_OF_ONE_SERVER = re.compile(rb'"(?:query_time_ms":[0-9.]+|next_cursor":"[^"]*"),?')
LISTS = (
    "/api/runs",
    "/api/v2/experiments?per_page=1000",
    "/api/recycle-bin",
    "/api/projects",
    "/api/artifacts",
    "/api/artifacts/stats",
)


class Trainer:
    """One training process; `acknowledged` are the steps for which `log()` has returned."""

    def __init__(
        self, root: Path, number: int, steps: int | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.acknowledged: list[int] = []
        arguments = [str(root), f"trainer-{number}", *([str(steps)] if steps else [])]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        self.run_id = self.process.stdout.readline().strip()
        assert self.run_id, self.process.communicate()[1]
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def log_on(self, steps: int = 20) -> None:
        """Wait until it has logged some steps more."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + steps, "more steps", END_S)

    def end(self) -> str:
        """Let it finish its run; what it has said to standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> str:
        """Wait until it has ended in order; what it has said to standard error."""
        assert self.process.stderr is not None
        assert self.process.wait(END_S) == 0
        self._listener.join(END_S)
        return self.process.stderr.read()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._listener.join(END_S)

    def close(self) -> None:
        """End it, if it still runs."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.acknowledged.append(int(line))


class Commander(threading.Thread):
    """Gives a run one description after the other over HTTP; what becomes of each is in `answered`."""

    def __init__(self, url: str, run_id: str, name: str) -> None:
        super().__init__(name=f"commander-{name}")
        self.answered: dict[str, int | None] = {}
        """The status of each; None: nobody knows, as the connection ended."""
        self._url = f"{url}/api/experiments/{run_id}"
        self._name = name
        self._over = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=30, verify=False) as client:
            while not self._over.wait(0.01):
                text = f"{self._name} {len(self.answered)}"
                try:
                    self.answered[text] = client.patch(self._url, json={"description": text}).status_code
                except httpx.HTTPError:
                    self.answered[text] = None

    def count(self, status: int) -> int:
        """How many commands were answered with a status."""
        return list(self.answered.values()).count(status)

    def end(self) -> None:
        self._over.set()
        self.join(END_S)
        assert not self.is_alive()


class Scene:
    """The processes of one scenario. Leave it to end them all."""

    def __init__(self, directory: Path, *, root: Path | None = None, state_dir: Path | None = None) -> None:
        self.directory = directory
        self.root = root or directory / "root"
        self.state_dir = state_dir or self.root / ".runicorn" / "state"
        self.trainers: list[Trainer] = []
        self.commanders: list[Commander] = []
        self.servers: list[Server] = []
        self.world = World(directory / "world")
        self._has_own_state = state_dir is not None

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *exception: object) -> None:
        self.world.reset()  # a process that waits for its disk cannot be ended in order
        for commander in self.commanders:
            commander.end()
        for trainer in self.trainers:
            trainer.close()
        for server in self.servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.stop()

    def serve(
        self, *arguments: str, environment: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> Server:
        """A server on the root; without limits on requests."""
        state = ("--state-dir", str(self.state_dir)) if self._has_own_state else ()
        server = Server(self.root, "--rate-limit", "off", *state, *arguments, environment=environment, wrapper=wrapper)
        self.servers.append(server)
        return server

    def train(self, steps: int | None = None, environment: Mapping[str, str] | None = None) -> Trainer:
        """A training; without `steps` it goes on until it is told to end."""
        self.trainers.append(Trainer(self.root, len(self.trainers), steps, environment))
        return self.trainers[-1]

    def command(self, server: Server, trainer: Trainer) -> Commander:
        """Begin to send commands about the run of a trainer to a server."""
        wait_until(lambda: server.http.get(f"/api/runs/{trainer.run_id}").status_code == 200, "the run")
        self.commanders.append(Commander(server.url, trainer.run_id, str(len(self.commanders))))
        self.commanders[-1].start()
        return self.commanders[-1]

    def check(self, server: Server, *, others: int = 0) -> dict[str, bytes]:
        """Everything that has to be true once the fault is over; the answers. Trainers have ended.

        `others` is how many runs there are besides those of the trainers.
        """
        for commander in self.commanders:
            commander.end()
        for trainer in self.trainers:
            assert trainer.process.poll() is not None
        wait_until(lambda: _health(server)["behind_streams"] == 0 and _health(server)["state"] == "live", "it is level")
        wait_until(
            lambda: len(server.http.get("/api/runs").json()) == len(self.trainers) + others, "all runs in the list"
        )
        server.http.post("/api/status/check")
        for trainer in self.trainers:
            self._check_stream(server, trainer)
        self._check_commands()
        served, replayed = answers(server), self.replayed()
        for path in served:
            assert served[path] == replayed[path], f"after a replay {path} is another"
        self.verify()
        assert "Traceback" not in server.log, server.log
        return served

    def verify(self) -> None:
        """`runicorn events verify` finds nothing wrong."""
        command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(self.root)]
        command += ["--state-dir", str(self.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5 * END_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def store_events(self) -> list[dict[str, object]]:
        """All events of the store stream, wherever it is."""
        paths = [*self.root.glob(".runicorn/log/*.jsonl"), *self.state_dir.glob("log/*.jsonl")]
        return [json.loads(line) for path in sorted(paths) for line in path.read_text().splitlines() if line]

    def _check_stream(self, server: Server, trainer: Trainer) -> None:
        (directory,) = self.root.glob(f"faults/*/runs/{trainer.run_id}")
        # An empty line ends a torn one: it is no event, and none is lost by it.
        lines = (directory / "events.jsonl").read_bytes().split(b"\n")[:-1]
        events = [event for line in lines if (event := _event(line)) is not None]
        steps = [event["data"]["global_step"] for event in events if event["type"] == "metrics"]
        assert steps == list(range(len(steps))), "steps are out of order, doubled or lost"
        assert trainer.acknowledged == steps[: len(trainer.acknowledged)], "acknowledged steps are lost"
        counts = Counter(event["type"] for event in events)
        assert counts["run.created"] == 1
        assert counts["run.finished"] <= 1
        for name in ("meta.json", "status.json"):
            assert isinstance(json.loads((directory / name).read_text()), dict)
        served = server.http.get(f"/api/runs/{trainer.run_id}/metrics_step").json()
        assert served == metrics_step(directory / "events.jsonl")

    def _check_commands(self) -> None:
        recorded = Counter(
            str(event["data"]["description"])
            for event in self.store_events()
            if event["type"] == "run.described" and isinstance(event["data"], dict)
        )
        for commander in self.commanders:
            for text, status in commander.answered.items():
                assert recorded[text] <= 1, f"{text!r} is in the log {recorded[text]} times"
                assert status != 200 or recorded[text] == 1, f"{text!r} was acknowledged and is lost"
                assert status in (200, 503, None), f"{text!r} was answered with {status}"

    def replayed(self, paths: Sequence[str] = ()) -> dict[str, bytes]:
        """The answers (or those to some paths) of a server that begins with an empty state directory."""
        state = self.directory / f"replayed-{len(self.servers)}"
        log = self.state_dir / "log"
        if log.exists():  # a read-only root: its store stream is here
            shutil.copytree(log, state / "log")
        server = Server(self.root, "--rate-limit", "off", "--state-dir", str(state))
        try:
            if not paths:
                return answers(server)
            wait_until_live(server)
            return {path: server.http.get(path).content for path in paths}
        finally:
            server.stop()


def answers(server: Server) -> dict[str, bytes]:
    """What can be read about the whole store, by path."""
    wait_until_live(server)
    found = {path: _OF_ONE_SERVER.sub(b"", server.http.get(path).content) for path in LISTS}
    for run in json.loads(found["/api/runs"])[:_RUNS_ASKED]:
        for path in ("", "/metrics_step", "/metrics", "/artifacts"):
            url = f"/api/runs/{run['id']}{path}"
            found[url] = server.http.get(url).content
    return found


def projector_pid(server: Server, state_dir: Path | None = None) -> int:
    """The process that serves this state directory as its projector."""
    address = (state_dir or server.root / ".runicorn" / "state") / "projector.json"
    return int(json.loads(address.read_text())["pid"])


def kill_projector(server: Server, kill: Callable[[int, int], None] = os.kill) -> None:
    """SIGKILL; returns once there is another one."""
    before = projector_pid(server)
    kill(before, 9)
    assert server.http.get("/api/runs").status_code == 200  # its death takes nothing down
    wait_until(lambda: projector_pid(server) != before, "a new projector")


def _health(server: Server) -> dict[str, object]:
    return server.http.get("/api/health").json()["projector"]


def _event(line: bytes) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
