"""Live events of a real server: what clients hear, from where, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import runicorn as rn
from runicorn.events.decided import RunTagged
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from tests.live_clients import Listen, LiveClient, SocketClient, SseClient, listen
from tests.recorded import wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event, write

__all__ = ["listen", "serve"]

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of this module share; each works on projects of its own."""
    server = Server(tmp_path_factory.mktemp("root") / "store", "--rate-limit", "off")
    wait_until_live(server)
    yield server
    server.stop()


def new_run(server: Server, project: str, name: str = "n") -> rn.Run:
    return rn.Run(project, str(server.root), None, name, capture_env=False)


@pytest.fixture
def project() -> str:
    """A name that no other test uses."""
    return f"project-{next(_numbers)}"


_numbers = itertools.count()


def is_finished(message: dict) -> bool:
    return message["type"] == "run.finished"


class TestWhatIsHeard:
    def test_the_life_of_a_run_is_told_in_order(self, server: Server, listen: Listen, project: str) -> None:
        client = listen(server, f"project={project}")
        assert client.next()["type"] == "hello"
        run = new_run(server, project)
        run.log({"loss": 0.5}, step=7)
        run.log_image("figure", b"\x89PNG\r\n\x1a\n")
        run.summary({"accuracy": float("nan"), "note": "good"})
        run.finish()

        heard = client.until(is_finished)
        types = [message["type"] for message in heard if message["type"] != "run.observed"]
        assert types == ["run.created", "metrics", "image", "run.summarized", "run.finished"]
        for message in heard:
            assert message["run_id"] == run.id
            assert message["run"] == f"{project}/n/runs/{run.id}"
            assert (message["project"], message["name"]) == (project, "n")
        told = {message["type"]: message for message in heard}
        assert (told["metrics"]["events"], told["metrics"]["step"]) == (1, 7)
        assert told["image"]["data"]["key"] == "figure"
        assert told["run.summarized"]["data"] == {"update": {"accuracy": None, "note": "good"}}
        assert told["run.finished"]["data"]["status"] == "finished"
        assert str(server.root) not in json.dumps(heard)

    def test_metrics_are_counted_and_not_told_one_by_one(self, server: Server, listen: Listen, project: str) -> None:
        client = listen(server, f"project={project}")
        client.next()
        started = time.monotonic()
        run = new_run(server, project)
        for step in range(2000):
            run.log({"loss": 1 / (step + 1)})
        run.finish()
        heard = client.until(is_finished)
        seconds = time.monotonic() - started
        metrics = [message for message in heard if message["type"] == "metrics"]
        assert sum(message["events"] for message in metrics) == 2000
        assert metrics[-1]["step"] == 2000
        assert [message["step"] for message in metrics] == sorted(message["step"] for message in metrics)
        assert len(metrics) <= 10 * seconds + 3

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("type=run.finished", ["run.finished"]),
            ("type=run.", ["run.created", "run.finished"]),
            ("type=metrics,run.finished", ["metrics", "run.finished"]),
            ("type=metrics&type=run.finished", ["metrics", "run.finished"]),
        ],
    )
    def test_types_choose_by_name_prefix_list_and_repetition(
        self, server: Server, listen: Listen, project: str, query: str, expected: list[str]
    ) -> None:
        client = listen(server, f"{query}&project={project}")
        client.next()
        run = new_run(server, project)
        run.log({"loss": 1.0})
        run.finish()
        heard = [message["type"] for message in client.until(is_finished)]
        assert [kind for kind in heard if kind != "run.observed"] == expected

    def test_runs_are_chosen_by_id_and_by_path(self, server: Server, listen: Listen, project: str) -> None:
        chosen, other, third = (new_run(server, project) for _ in range(3))
        client = listen(server, f"run={chosen.id}&run={project}/n/runs/{third.id}&type=run.finished")
        client.next()
        for run in (other, chosen, third):
            run.finish()
        assert {client.next()["run_id"] for _ in range(2)} == {chosen.id, third.id}

    def test_events_of_types_that_nobody_declared_are_told(self, server: Server, listen: Listen, project: str) -> None:
        run = new_run(server, project)
        client = listen(server, f"project={project}&type=alert.raised")
        client.next()
        with open(Path(run.run_dir) / "events.jsonl", "ab") as file:
            file.write(b'{"ts": 5.5, "type": "alert.raised", "data": {"value": NaN, "big": 1%s}}\n' % (b"0" * 30))
        message = client.next()
        assert message["ts"] == 5.5
        assert message["data"] == {"value": None, "big": 10**30}

    def test_data_beyond_its_limit_is_left_out(self, server: Server, listen: Listen, project: str) -> None:
        client = listen(server, f"project={project}&type=run.summarized")
        client.next()
        run = new_run(server, project)
        run.summary({"text": "x" * 20_000})
        message = client.next()
        assert (message["data"], message["truncated"]) == (None, True)

    def test_what_0_4_0_does_to_files_is_told_without_paths(self, server: Server, listen: Listen, project: str) -> None:
        client = listen(server, f"project={project}")
        client.next()
        meta = {"project": project, "storage_dir": str(server.root), "created_at": 5.0}
        directory = make_run(
            server.root, f"{project}/n/runs/20260101_000000_aaaaaa", meta=meta, status={"status": "finished"}
        )
        client.until(lambda message: message["type"] == "run.observed" and message["data"]["file"] == "status.json")
        write(directory / ".deleted", '{"deleted_at": 1.0}')
        deleted = client.until(lambda message: message["data"]["file"] == ".deleted")[-1]
        assert deleted["data"]["exists"] is True
        (directory / ".deleted").unlink()
        restored = client.until(lambda message: message["data"]["file"] == ".deleted")[-1]
        assert restored["data"]["exists"] is False
        assert str(server.root) not in json.dumps([deleted, restored])

    def test_commands_on_a_run_are_told(self, server: Server, listen: Listen, project: str) -> None:
        run = new_run(server, project)
        run.finish()
        client = listen(server, f"project={project}&type=run.tagged")
        client.next()
        store = StoreStream(FileLog(server.root, server.root / ".runicorn" / "state"))
        store.append(RunTagged(run=f"{project}/n/runs/{run.id}", run_id=run.id, tags=["good"]))
        tagged = client.next()
        assert (tagged["type"], tagged["run_id"], tagged["project"]) == ("run.tagged", run.id, project)
        assert tagged["data"]["tags"] == ["good"]

    def test_runs_that_were_there_before_are_not_told(self, serve: Serve, listen: Listen, tmp_path: Path) -> None:
        for number in range(20):
            make_run(tmp_path / "root", f"p/n/runs/{number}", events=metrics_event(global_step=1))
        server = serve(tmp_path / "root")
        client = listen(server)
        client.next()
        wait_until_live(server)
        new_run(server, "p").finish()
        assert {message.get("run_id") for message in client.until(is_finished)} & {str(n) for n in range(20)} == set()


class TestResuming:
    @pytest.mark.parametrize("how", ["parameter", "header"])
    def test_what_was_missed_is_told(self, server: Server, project: str, how: str) -> None:
        client = SseClient(server, f"project={project}")
        client.next()
        run = new_run(server, project)
        position = client.until(lambda message: message["type"] == "run.created")[-1]["id"]
        client.close()
        run.log({"loss": 1.0})
        run.finish()
        wait_until(lambda: server.http.get(f"/api/runs/{run.id}").json()["status"] == "finished")
        if how == "header":
            again = SseClient(server, f"project={project}&since=abc.1", headers={"Last-Event-ID": position})
        else:
            again = SseClient(server, f"project={project}&since={position}")
        assert again.next() == {"id": position, "type": "hello"}
        types = [message["type"] for message in again.until(is_finished)]
        assert "metrics" in types
        again.close()

    def test_a_position_outlives_the_server(self, serve: Serve, listen: Listen, tmp_path: Path) -> None:
        root = tmp_path / "root"
        server = serve(root)
        wait_until_live(server)
        client = listen(server)
        client.next()
        run = new_run(server, "p")
        position = client.until(lambda message: message["type"] == "run.created")[-1]["id"]
        server.stop()
        run.log({"loss": 1.0}, step=3)
        server = serve(root)
        run.finish()
        again = listen(server, f"since={position}")
        assert again.next()["type"] == "hello"
        heard = again.until(is_finished)
        assert [message["step"] for message in heard if message["type"] == "metrics"] == [3]

    def test_all_workers_know_the_same_positions(self, serve: Serve, listen: Listen, tmp_path: Path) -> None:
        server = serve(tmp_path / "root", "--workers", "2", "--rate-limit", "off")
        wait_until_live(server)
        client = listen(server)
        client.next()
        new_run(server, "p").finish()
        position = client.until(is_finished)[-1]["id"]
        new_run(server, "q").finish()
        for _ in range(8):  # some of them come to the other worker
            again = listen(server, f"since={position}")
            assert again.next()["type"] == "hello"
            assert again.until(is_finished)[-1]["project"] == "q"

    def test_an_unknown_position_is_a_reset(self, server: Server, listen: Listen) -> None:
        for position in ("0123456789ab.5", "x.999999"):
            client = listen(server, f"since={position}")
            message = client.next()
            assert message["type"] == "reset"
            assert listen(server, f"since={message['id']}").next()["type"] == "hello"

    def test_when_the_projector_was_killed_clients_are_told_to_begin_anew(
        self, serve: Serve, listen: Listen, tmp_path: Path
    ) -> None:
        server = serve(tmp_path / "root")
        wait_until_live(server)
        client = listen(server)
        client.next()
        new_run(server, "p").finish()
        client.until(is_finished)
        pid = json.loads((tmp_path / "root/.runicorn/state/projector.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        client.until(lambda message: message["type"] == "reset")
        new_run(server, "q").finish()
        client.until(is_finished)

    def test_what_is_no_position_is_refused(self, server: Server) -> None:
        answer = server.http.get("/api/events/stream?since=nonsense")
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "Invalid value for since: not the id of a notice",
        )
        client = SocketClient(server, "since=nonsense")
        assert client.next() == {"type": "error", "detail": "Invalid value for since: not the id of a notice"}
        assert client.wait_for_end() == 1008


class TestConnections:
    def test_the_answer_is_an_event_stream_that_is_not_stored(self, server: Server) -> None:
        client = SseClient(server)
        assert client.headers["content-type"].startswith("text/event-stream")
        assert client.headers["cache-control"] == "no-store"
        client.close()

    def test_a_plain_request_for_the_socket_is_told_to_upgrade(self, server: Server) -> None:
        answer = server.http.get("/api/events/ws")
        assert answer.status_code == 426
        assert "WebSocket" in answer.json()["detail"]

    def test_foreign_pages_are_refused(self, server: Server) -> None:
        foreign = {"Origin": "http://evil.example"}
        assert server.http.get("/api/events/stream", headers=foreign).status_code == 403
        with pytest.raises(Exception, match="403"):
            SocketClient(server, headers=foreign)

    def test_a_client_may_have_twenty_streams(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(tmp_path / "root")
        clients: list[LiveClient] = [(SseClient, SocketClient)[number % 2](server) for number in range(20)]
        for client in clients:
            client.next()
        answer = server.http.get("/api/events/stream")
        assert (answer.status_code, answer.json()["detail"]) == (429, "Too many live streams (limit 20)")
        refused = SocketClient(server)
        assert refused.next()["type"] == "error"
        assert refused.wait_for_end() == 1013
        clients[0].close()
        wait_until(lambda: _is_open(server))
        for client in clients[1:]:
            client.close()

    def test_at_the_end_of_the_server_streams_end_too(self, serve: Serve, listen: Listen, tmp_path: Path) -> None:
        server = serve(tmp_path / "root", "--rate-limit", "off")
        clients = [listen(server, "type=none") for _ in range(10)]
        for client in clients:
            client.next()
        server.process.terminate()
        for client in clients:
            assert client.wait_for_end() in (0, 1001)
        assert server.process.wait(10) == 0

    def test_clients_that_vanish_leave_no_descriptor(self, serve: Serve, listen: Listen, tmp_path: Path) -> None:
        server = serve(tmp_path / "root", "--rate-limit", "off")
        wait_until_live(server)
        listen(server).next()
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        clients = [listen(server) for _ in range(50)]
        for client in clients:
            client.next()
        assert len(list(descriptors.iterdir())) > before + 40
        for client in clients:
            client.close()
        # Threads open read models when they first need them; fifty clients that were kept would be more.
        wait_until(lambda: len(list(descriptors.iterdir())) < before + 25, "the descriptors")


def _is_open(server: Server) -> bool:
    with httpx.stream("GET", f"{server.url}/api/events/stream", timeout=5) as answer:
        return answer.status_code == 200
