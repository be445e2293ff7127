"""Whatever a plugin by a stranger does, in whichever hook: everything else answers as without it, and health names it.

The command line is part of it: what is asked there (`runicorn_commands`, the import) is waited for no longer than elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import runicorn
from tests.faults.strangers import AT_START, IN_THE_PROJECTOR, ON_OPENING, WHILE_SERVING, Case, hook, module
from tests.plugin_on_path import PluginDirectory
from tests.serving import Server, wait_until

PATIENCE_S = "6"  # an import of an innocent one must not take so long, on a loaded machine either
NAME = "stranger"
ASKED = ("/api/runs", "/api/v2/experiments", "/api/artifacts", "/api/projects", "/api/config")
NOT_COMPARED = re.compile(rb'"query_time_ms":[0-9.]+')
EVERYBODY_S = 300

Serve = Callable[..., Server]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs with metrics, and an artifact."""
    directory = tmp_path / "root"
    (tmp_path / "weights.bin").write_bytes(b"1")
    for loss in (1.0, 0.5):
        with runicorn.init("project", name="name", storage=str(directory), capture_env=False) as run:
            run.log({"loss": loss})
            runicorn.log_artifact(str(tmp_path / "weights.bin"), name="net", type="model")
    return directory


@pytest.fixture
def strangers(tmp_path: Path) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """A function that installs plugins, by name; the environment in which they are found."""

    def add(sources: Mapping[str, str]) -> dict[str, str]:
        plugins = PluginDirectory(tmp_path / "plugins")
        for name, source in sources.items():
            plugins.add(name, source)
        return {**plugins.environment, "RUNICORN_PLUGIN_PATIENCE": PATIENCE_S}

    return add


def answers(server: Server) -> dict[str, Any]:
    """What everybody else says."""
    found: dict[str, Any] = {}
    for path in ASKED:
        answer = server.http.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        found[path] = NOT_COMPARED.sub(b"", answer.content)
    (first, *_) = server.http.get("/api/runs").json()
    found["metrics"] = server.http.get(f"/api/runs/{first['id']}/metrics_step").content
    return found


def log_a_run(server: Server) -> str:
    with runicorn.init("project", name="later", storage=str(server.root), capture_env=False) as run:
        run.log({"loss": 0.1})
    return run.id


def provoke(server: Server, cases: Iterable[Case]) -> None:
    for case in cases:
        for _ in range(12 if case.provoke else 0):
            server.http.get(case.provoke or "")


def is_named(case: Case, told: Mapping[str, Any]) -> bool:
    if case.status == "ok":
        return True  # what harms nobody need not be told; on a busy machine it may be, as it takes longer
    return told["status"] == case.status and re.search(case.reason, told.get("detail") or "") is not None


@pytest.mark.parametrize(
    "group",
    [  # those at start that hang are waited for one after the other, before there is a server
        pytest.param(AT_START[:14], id="at start", marks=pytest.mark.slow(20)),
        pytest.param(AT_START[14:], id="at start, too", marks=pytest.mark.slow(20)),
        pytest.param(ON_OPENING, id="on opening a root", marks=pytest.mark.slow(25)),
        pytest.param(IN_THE_PROJECTOR, id="in the projector", marks=pytest.mark.slow(55)),
        pytest.param(WHILE_SERVING, id="while serving", marks=pytest.mark.slow(65)),
    ],
)
def test_everything_else_answers_as_without_strangers_and_health_names_each(
    group: list[Case],
    serve: Serve,
    root: Path,
    tmp_path: Path,
    strangers: Callable[[Mapping[str, str]], dict[str, str]],
) -> None:
    """All of a group at once: none of them may hide another one either."""
    arguments = ("--rate-limit", "off", "--log-level", "warning", "--state-dir", str(tmp_path / "state"))
    with Server(root, *arguments) as alone:
        alone.wait_until_visible()
        expected = answers(alone)
    names = [f"{NAME}{number:02}" for number in range(len(group))]
    cases = {name: case.called(name) for name, case in zip(names, group, strict=True)}
    environment = strangers({name: case.source for name, case in cases.items()})
    server = serve(root, *arguments, environment=environment)
    wait_until(lambda: server.health()["projector"]["state"] == "live", "the first build", EVERYBODY_S)
    server.wait_until_visible()
    provoke(server, cases.values())
    assert answers(server) == expected
    later = [log_a_run(server)]
    left = dict(cases)
    told: dict[str, Any] = {}
    next_run = [0.0]

    def was_each_named() -> bool:  # some only for a while: then they are provoked again
        told.update(server.health()["plugins"])
        for plugin in [plugin for plugin, case in left.items() if is_named(case, told[plugin])]:
            del left[plugin]
        provoke(server, left.values())
        if left and time.monotonic() > next_run[0]:
            next_run[0] = time.monotonic() + 2
            later.append(log_a_run(server))
        return not left

    try:
        wait_until(was_each_named, "all of them in health", EVERYBODY_S)
    except AssertionError as error:
        said = {case.name: told[plugin] for plugin, case in left.items()}
        raise AssertionError(f"{said}\n{server.log[-5000:]}") from error
    later.append(log_a_run(server))
    for run in later:
        wait_until(lambda run=run: run in server.http.get("/api/runs").text, "runs that are logged later")
        assert server.http.get(f"/api/runs/{run}").json()["status"] == "finished"
    assert server.health()["projector"]["state"] == "live"
    assert server.stop() == 0


def cli(environment: dict[str, str], root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runicorn", *arguments],
        env={**os.environ, **environment, "RUNICORN_DIR": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise KeyError('lost')", "commands: KeyError: 'lost'"),
        ("sys.exit(5)", "commands: SystemExit: 5"),
        ("forever()", f"commands has not returned for {PATIENCE_S} s"),
        ("return 42", "commands: returned int, not a list"),
        ("return ['x']", "commands: returned str, not a click command"),
        ("return [click.Command('a/b')]", "commands: a command has the name 'a/b'"),
        ("return [click.Command('a'), click.Command('a')]", "commands: returned two with the name a"),
        ("return iter(lambda: click.Command(str(time.time_ns())), 0)", "commands: returned more than 1000 things"),
    ],
)
def test_the_command_line_works_as_without_the_stranger(
    root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]], body: str, reason: str
) -> None:
    environment = strangers({NAME: module(hook("commands", body))})
    helped = cli(environment, root, "--help")
    assert helped.returncode == 0, helped.stderr
    assert re.search(r"^  manage ", helped.stdout, re.M)  # of another plugin
    listed = cli(environment, root, "plugins")
    assert listed.returncode == 0, listed.stderr
    assert reason in listed.stdout


@pytest.mark.parametrize(
    ("body", "find", "reason"),
    [
        ("raise KeyError('lost')", "", "subjects: KeyError: 'lost'"),
        ("return [Kind()]", "raise KeyError('lost')", "subjects: KeyError: 'lost'"),
        ("return [Kind()]", "sys.exit(5)", "subjects: SystemExit: 5"),
        ("return [Kind()]", "forever()", f"subjects has not returned for {PATIENCE_S} s"),
        ("return [5]", "", "subjects: int has no method find"),
    ],
)
def test_histories_are_shown_as_without_the_stranger(
    root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]], body: str, find: str, reason: str
) -> None:
    kind = f"class Kind:\n    def find(self, store, text):\n        {find or 'pass'}\n"
    environment = strangers({NAME: module(kind + hook("subjects", body))})
    (run, *_) = json.loads(cli(environment, root, "runs", "--json").stdout)
    shown = cli(environment, root, "history", run["id"])
    assert shown.returncode == 0, shown.stderr
    assert f"plugin {NAME} is disabled: {reason}" in shown.stderr


def test_a_command_that_raises_is_its_own_matter(
    root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]]
) -> None:
    commands = hook("commands", "return [click.Command('fail', callback=fail)]")
    environment = strangers({NAME: module("def fail(): raise KeyError('lost')\n" + commands)})
    assert cli(environment, root, "fail").returncode == 1
    assert cli(environment, root, "plugins").returncode == 0


def test_a_projection_that_hangs_ends_no_command_that_reads_the_store(
    root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]]
) -> None:
    environment = strangers({NAME: module("Seen.apply = forever\n")})
    replayed = cli(environment, root, "events", "replay")
    assert replayed.returncode == 1
    assert f"The plugin {NAME} cannot apply the log: apply has not returned for {PATIENCE_S} s" in replayed.stderr
    listed = cli(environment, root, "runs")
    assert listed.returncode == 0, listed.stderr
    assert f"plugin {NAME}" in listed.stderr


def test_logging_never_meets_a_plugin(root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
    environment = strangers({NAME: "raise SystemExit(7)"})
    train = "import runicorn as rn\nwith rn.init('p', capture_env=False): rn.log({'a': 1})\nprint('trained')"
    done = subprocess.run(
        [sys.executable, "-c", train],
        env={**os.environ, **environment, "RUNICORN_DIR": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("trained\n", "")


def test_the_other_workers_answer_while_one_is_held_up(
    serve: Serve, root: Path, strangers: Callable[[Mapping[str, str]], dict[str, str]]
) -> None:
    body = "    time.sleep(4); return {}\n"
    handler = "@get('/api/stranger', sync_to_thread=False)\ndef route(store: Store) -> dict[str, int]:\n" + body
    environment = strangers({NAME: module(handler + hook("routes", "return [route]"))})
    environment["RUNICORN_PLUGIN_PATIENCE"] = "30"
    server = serve(root, "--workers", "2", "--rate-limit", "off", environment=environment)
    server.wait_until_visible()
    held = threading.Thread(target=lambda: httpx.get(f"{server.url}/api/stranger", timeout=30))
    held.start()
    answered = 0

    def other_worker_answers() -> bool:  # a new connection may reach either of them
        nonlocal answered
        with contextlib.suppress(httpx.TimeoutException):
            answered += httpx.get(f"{server.url}/api/runs", timeout=0.5).status_code == 200
        return answered >= 3

    wait_until(other_worker_answers, "answers of the other worker")
    held.join()
