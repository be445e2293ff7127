"""Processes of `runicorn serve`: start, refusal to start, the projector, several workers, another root."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import runicorn
from tests.plugin_on_path import PluginDirectory
from tests.promises import ENDED_S
from tests.serving import Server, wait_until

SWITCH = """
    import gc
    import os
    from pathlib import Path
    from litestar import post, get
    from runicorn.plugin import Serving, Store, hookimpl

    @post("/api/switch", status_code=200)
    async def switch(serving: Serving, to: str) -> dict[str, str]:
        await serving.switch(Path(to))
        return {"storage": str(serving.store.root)}

    @get("/api/who", sync_to_thread=False)
    def who(store: Store) -> dict[str, object]:
        collects = gc.isenabled() and gc.get_threshold()
        return {"pid": os.getpid(), "root": str(store.root), "leader": store.is_leader, "collects": collects}

    @hookimpl
    def runicorn_routes():
        return [switch, who]

    @hookimpl
    def runicorn_rate_limits():
        return {"GET /api/who": 100000}
"""


@pytest.fixture
def plugins(tmp_path: Path) -> PluginDirectory:
    directory = PluginDirectory(tmp_path / "plugins")
    directory.add("switching", SWITCH)
    return directory


def refused(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """What `runicorn serve` says when it does not start."""
    command = [sys.executable, "-m", "runicorn", "serve", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})}, check=False
    )
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "listening" not in result.stdout
    return result.stderr


def projector_of(server: Server) -> psutil.Process | None:
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "runicorn.projection" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def projector_state(server: Server) -> str:
    return server.http.get("/api/health").json()["projector"]["state"]


def is_live(server: Server) -> Callable[[], bool]:
    return lambda: projector_state(server) == "live"


# ── start ───────────────────────────────────────────────────────────────────


def test_the_start_says_where_what_and_with_which_plugins(serve, tmp_path):
    server = serve(tmp_path / "new" / "root")

    assert f"Storage root: {tmp_path / 'new' / 'root'}" in server.log
    assert "Plugins: " in server.log
    assert (tmp_path / "new" / "root" / "runs").is_dir()
    assert "no authentication" not in server.log


def test_garbage_is_collected_as_in_any_process_that_stays(serve, plugins):
    server = serve(None, environment=plugins.environment)

    assert server.http.get("/api/who").json()["collects"] == list(gc.get_threshold())


def test_listening_for_other_machines_prints_a_warning(serve):
    assert "no authentication" in serve(None, "--host", "0.0.0.0").log


def test_a_port_in_use_is_named_with_its_user(serve, tmp_path):
    server = serve()
    message = refused("--storage", str(tmp_path / "other"), "--port", str(server.port))

    assert f"Port {server.port} is in use" in message
    assert "--port" in message
    assert str(server.process.pid) in message


def test_an_unknown_address_is_named(tmp_path):
    assert "no address" in refused("--storage", str(tmp_path), "--host", "no.such.host.invalid")


def test_a_root_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    assert "cannot be created" in refused("--storage", str(tmp_path / "file" / "root"), "--port", "0")


def test_an_unwritable_state_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(
        "--storage", str(tmp_path / "root"), "--state-dir", str(tmp_path / "file" / "state"), "--port", "0"
    )

    assert "state directory" in message
    assert "--state-dir" in message


def test_the_state_of_another_root_is_refused(serve, tmp_path):
    state = ("--state-dir", str(tmp_path / "state"))
    serve(tmp_path / "one", *state).stop()

    for more in ([], ["--workers", "2"]):
        message = refused("--storage", str(tmp_path / "two"), *state, "--port", "0", *more)
        assert str(tmp_path / "one") in message
        assert "--state-dir" in message


def test_one_setting_for_state_serves_many_roots(serve, tmp_path, plugins):
    environment = {"RUNICORN_STATE_DIR": str(tmp_path / "state"), **plugins.environment}
    servers = [serve(tmp_path / name, "--rate-limit", "off", environment=environment) for name in ("one", "two")]
    for server in servers:
        wait_until(is_live(server), "the projector")
        assert not (server.root / ".runicorn" / "state").exists()
    servers[0].http.post("/api/switch", params={"to": str(tmp_path / "three")})

    assert not (tmp_path / "three" / ".runicorn" / "state").exists()
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "state").iterdir()) == ["one", "three", "two"]


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A directory into which nobody can write, not even the superuser."""
    if os.geteuid() == 0:
        return Path("/proc/tty")
    directory = tmp_path / "unwritable"
    directory.mkdir(mode=0o555)
    return directory


def test_an_unwritable_root_needs_a_state_directory(serve, unwritable, tmp_path):
    assert "--state-dir" in refused("--storage", str(unwritable), "--port", "0")
    server = serve(unwritable, "--state-dir", str(tmp_path / "state"))

    assert server.http.get("/api/health").json()["status"] == "degraded"
    assert server.http.get("/api/health").json()["storage"] == str(unwritable)


def test_two_plugins_with_one_route_prevent_the_start_and_are_both_named(tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    for name, parameter in (("first", "one"), ("second", "two")):
        plugins.add(
            name,
            f"""
            from litestar import get
            from litestar.params import FromPath
            from runicorn.plugin import hookimpl

            @get("/api/same/{{{parameter}:str}}/x", sync_to_thread=False)
            def route({parameter}: FromPath[str]) -> str:
                return {parameter}

            @hookimpl
            def runicorn_routes():
                return [route]
            """,
        )
    for more in ([], ["--workers", "2"]):
        message = refused("--storage", str(tmp_path / "root"), "--port", "0", *more, environment=plugins.environment)
        assert "first" in message
        assert "second" in message
        assert "/api/same/" in message


def test_two_plugins_with_one_event_type_prevent_the_start_and_are_both_named(tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    for name in ("first", "second"):
        plugins.add(
            name,
            """
            from typing import ClassVar
            from runicorn.plugin import Payload, hookimpl

            class Happened(Payload, frozen=True):
                event_type: ClassVar[str] = "thing.happened"

            @hookimpl
            def runicorn_event_types():
                return [Happened]
            """,
        )
    for more in ([], ["--workers", "2"]):
        message = refused("--storage", str(tmp_path / "root"), "--port", "0", *more, environment=plugins.environment)
        assert "first" in message
        assert "second" in message
        assert "event type thing.happened" in message


def test_a_plugin_cannot_take_a_route_of_the_server(tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add(
        "greedy",
        """
        from litestar import get
        from runicorn.plugin import hookimpl

        @get("/api/health", sync_to_thread=False)
        def route() -> str:
            return "fine"

        @hookimpl
        def runicorn_routes():
            return [route]
        """,
    )

    assert "greedy" in refused("--storage", str(tmp_path / "root"), "--port", "0", environment=plugins.environment)


def test_an_unknown_plugin_prevents_the_start(tmp_path):
    assert "nonesuch" in refused("--storage", str(tmp_path / "root"), "--plugins", "nonesuch", "--port", "0")


def test_plugins_that_are_left_out_are_shown_as_disabled(serve):
    body = serve(None, "--without", "remote").http.get("/api/health").json()

    assert body["plugins"]["remote"] == {"status": "disabled", "detail": "not selected"}


def test_the_command_line_decides_for_the_projector_too_whatever_the_environment_says(serve):
    environment = {"RUNICORN_PLUGINS": "runs", "RUNICORN_WITHOUT": "artifacts"}
    server = serve(None, "--plugins", "runs,artifacts", "--without", "query", environment=environment)
    wait_until(is_live(server), "the projector")
    with runicorn.init("project", storage=str(server.root), capture_env=False) as run:
        pass

    wait_until(lambda: server.http.get("/api/runs").json(), "the run")
    assert server.http.get(f"/api/runs/{run.id}/artifacts").status_code == 200


# ── the projector ───────────────────────────────────────────────────────────


def test_a_killed_projector_is_started_again_and_the_server_answers_meanwhile(serve):
    server = serve(None, "--rate-limit", "off")
    wait_until(is_live(server), "the projector")
    first = projector_of(server)
    assert first is not None
    first.kill()
    wait_until(lambda: (second := projector_of(server)) is not None and second.pid != first.pid, "its successor")
    wait_until(is_live(server), "the projector")

    assert server.http.get("/api/health").json()["projector"]["restarts"] >= 1


@contextmanager
def no_descriptors_left(pid: int) -> Iterator[None]:
    """Let a running process open nothing more, as when the limit of its system is reached."""
    process = psutil.Process(pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))


def test_a_projector_that_cannot_be_started_is_started_once_there_are_descriptors_again(serve):
    server = serve(None, "--rate-limit", "off")
    wait_until(is_live(server), "the projector")
    projector = projector_of(server)
    assert projector is not None
    with no_descriptors_left(server.process.pid):
        projector.kill()
        wait_until(lambda: "cannot be started" in server.log, "an attempt without descriptors")
    wait_until(is_live(server), "the projector")

    assert server.stop() == 0


def test_a_server_that_cannot_start_its_projector_stops_cleanly(serve):
    server = serve(None, "--rate-limit", "off")
    wait_until(is_live(server), "the projector")
    projector = projector_of(server)
    assert projector is not None
    with no_descriptors_left(server.process.pid):
        projector.kill()
        wait_until(lambda: server.log.count("cannot be started") >= 2, "two attempts without descriptors")

    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_the_projector_ends_with_the_server_even_if_that_is_killed(serve):
    server = serve(None, "--rate-limit", "off")
    wait_until(is_live(server), "the projector")
    projector = projector_of(server)
    assert projector is not None
    server.stop(signal.SIGKILL)

    wait_until(lambda: not projector.is_running() or projector.status() == psutil.STATUS_ZOMBIE, "its end")


@pytest.mark.slow
def test_a_second_server_reads_only_and_takes_over_when_the_first_ends(serve, tmp_path):
    first = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(is_live(first), "the projector")
    second = serve(tmp_path / "root", "--rate-limit", "off")
    wait_until(lambda: second.http.get("/api/health").json()["projector"]["elsewhere"], "the second to notice")
    assert projector_state(second) == "live"
    assert second.http.get("/api/health").json()["status"] == "ok"
    first.stop()

    wait_until(lambda: not second.http.get("/api/health").json()["projector"]["elsewhere"], "the second to take over")
    wait_until(is_live(second), "its projector")


def test_lifespans_are_entered_before_requests_and_left_before_the_end(serve, tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add(
        "living",
        """
        from contextlib import asynccontextmanager
        from runicorn.plugin import Health, hookimpl

        @hookimpl
        @asynccontextmanager
        async def runicorn_lifespan(store):
            (store.state_dir / "entered").write_text("")
            yield
            (store.state_dir / "left").write_text("")

        @hookimpl
        def runicorn_health(store):
            return Health("degraded", "half alive")
        """,
    )
    server = serve(tmp_path / "root", "--state-dir", str(tmp_path / "state"), environment=plugins.environment)
    assert (tmp_path / "state" / "entered").exists()
    assert server.http.get("/api/health").json()["plugins"]["living"] == {"status": "degraded", "detail": "half alive"}
    assert server.http.get("/api/health").json()["status"] == "degraded"
    server.stop()

    assert (tmp_path / "state" / "left").exists()


# ── several workers ─────────────────────────────────────────────────────────


def workers_seen(server: Server, at_least: int) -> dict[int, dict[str, object]]:
    """What `at_least` different workers say about themselves, by pid. New connections reach any of them."""
    import httpx

    seen: dict[int, dict[str, object]] = {}

    def ask() -> bool:
        try:
            answer = httpx.get(f"{server.url}/api/who").json()
        except httpx.TransportError:  # of one that is just ending
            return False
        seen[answer["pid"]] = answer
        return len(seen) >= at_least

    wait_until(ask, f"{at_least} workers")
    return seen


@pytest.mark.slow(3)
def test_several_workers_share_the_port_and_one_leads(serve, plugins):
    server = serve(None, "--workers", "3", environment=plugins.environment)
    workers = workers_seen(server, 3)

    assert [worker["leader"] for worker in workers.values()].count(True) == 1
    assert server.process.pid not in workers
    assert server.stop(timeout_s=ENDED_S) == 0
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), "the end of all workers")


@pytest.mark.slow
def test_a_killed_worker_is_replaced(serve, plugins):
    server = serve(None, "--workers", "2", environment=plugins.environment)
    killed, other = workers_seen(server, 2)
    os.kill(killed, signal.SIGKILL)

    def replaced() -> bool:
        return bool(set(workers_seen(server, 2)) - {killed, other})

    wait_until(replaced, "its successor")


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_is_started_once_there_are_descriptors_again(serve, plugins):
    server = serve(None, "--workers", "2", environment=plugins.environment)
    killed, _ = workers_seen(server, 2)
    with no_descriptors_left(server.process.pid):
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: "cannot be started" in server.log, "an attempt without descriptors")

    workers_seen(server, 2)


@pytest.mark.slow
def test_workers_end_with_a_killed_supervisor(serve, plugins):
    server = serve(None, "--workers", "2", environment=plugins.environment)
    workers = workers_seen(server, 2)
    server.stop(signal.SIGKILL)

    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), "the end of all workers")


# ── another root ────────────────────────────────────────────────────────────


def test_the_root_can_be_switched_while_serving(serve, plugins, tmp_path):
    server = serve(tmp_path / "one", "--rate-limit", "off", environment=plugins.environment)
    wait_until(is_live(server), "the projector")
    answer = server.http.post("/api/switch", params={"to": str(tmp_path / "two")})

    assert answer.json() == {"storage": str(tmp_path / "two")}
    assert server.http.get("/api/health").json()["storage"] == str(tmp_path / "two")
    assert (tmp_path / "two" / "runs").is_dir()
    wait_until(is_live(server), "the projector of the new root")
    assert server.stop() == 0


def test_a_switch_to_an_unusable_root_changes_nothing(serve, plugins, tmp_path):
    (tmp_path / "file").write_text("")
    server = serve(tmp_path / "one", "--rate-limit", "off", environment=plugins.environment)
    answer = server.http.post("/api/switch", params={"to": str(tmp_path / "file" / "two")})

    assert answer.status_code == 503
    assert server.http.get("/api/health").json()["storage"] == str(tmp_path / "one")


@pytest.mark.slow(4)
def test_a_switch_reaches_all_workers(serve, plugins, tmp_path):
    server = serve(tmp_path / "one", "--workers", "2", environment=plugins.environment)
    workers_seen(server, 2)
    server.http.post("/api/switch", params={"to": str(tmp_path / "two")})

    wait_until(
        lambda: {worker["root"] for worker in workers_seen(server, 2).values()} == {str(tmp_path / "two")},
        "both workers to serve the new root",
    )


@pytest.mark.slow
def test_changed_sources_restart_the_server_also_those_of_plugins_and_again(serve, plugins, tmp_path):
    package = tmp_path / "copy"
    source = Path(__file__).parents[3] / "core" / "runicorn"
    shutil.copytree(source, package / "runicorn", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    environment = {"PYTHONPATH": f"{package}{os.pathsep}{plugins.environment['PYTHONPATH']}"}
    server = serve(None, "--reload", environment=environment)
    changed = [package / "runicorn" / "version.py", plugins.directory / "switching.py"]
    for file in [*changed, *changed]:
        (before,) = workers_seen(server, 1)

        def restarted(file: Path = file, before: int = before) -> bool:
            replacement = file.with_suffix(".new")
            replacement.write_text(file.read_text() + "\n")
            replacement.replace(file)  # as editors do
            return bool(set(workers_seen(server, 1)) - {before})

        wait_until(restarted, "the restart")


def test_all_processes_of_a_server_log_lines_of_one_form(tmp_path: Path) -> None:
    server = Server(tmp_path / "root", "--log-level", "debug")
    try:
        with runicorn.init("p", tmp_path / "root", capture_env=False) as run:
            run.log(loss=1.0)
        wait_until(lambda: server.http.get("/api/runs").json(), "the run")
        wait_until(lambda: '"runicorn.projection' in server.log, "a line of the projector")
    finally:
        server.stop()
    announced = ("Storage root: ", "Plugins: ", "Runicorn is listening on ")  # on the standard output
    told = [json.loads(line) for line in server.log.splitlines() if not line.startswith(announced)]
    assert told
    assert all({"ts", "level"} <= line.keys() for line in told)


def test_the_process_of_the_indexes_logs_the_same_form(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "runicorn_query.indexes", "--root", str(tmp_path), "--state-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "file")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    told = json.loads(done.stderr)
    assert (told["level"], told["logger"]) == ("error", "runicorn.query")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_environment_says_in_vain_is_warned_of_once(tmp_path: Path, workers: str) -> None:
    wrong = {"RUNICORN_IMPORT_UNPACKED_BYTES": "abc", "RUNICORN_STALE_AFTER": "x", "RUNICORN_PLUGIN_PATIENCE": "nan"}
    server = Server(tmp_path / "root", "--workers", workers, environment=wrong)
    try:
        server.http.get("/api/runs")
        server.wait_until_live()
    finally:
        server.stop()
    assert {name: server.log.count(f"{name} is not a ") for name in wrong} == dict.fromkeys(wrong, 1)
