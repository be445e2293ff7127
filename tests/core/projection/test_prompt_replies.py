"""What a worker that waits for a stream does not wait for."""

from __future__ import annotations

import socket
from pathlib import Path

import apsw

from runicorn.events.append import StreamWriter
from runicorn.events.log import Stream
from runicorn.host import PluginHost
from runicorn.projection.wire import Committed, Reply, Request, decode_message, encode_message, published_address
from tests.core.projection.test_projector_process import created, is_level, lines
from tests.projecting import InProcess
from tests.stores import make_run

RUN = Stream("run", "p/n/runs/one")


def test_a_worker_wakes_once_for_what_was_committed_and_for_the_reply(root, state, start):
    run = make_run(root, RUN.name, events=created("one"))
    projector = start("--poll")  # else the watcher may find the change first, and the reply has nothing to tell
    projector.wait_until(lambda: is_level(projector))
    address = published_address(state)
    assert address is not None
    writer = StreamWriter(run / "events.jsonl")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(address)
        connection.recv(1 << 16)
        woken_for: list[set[type[object]]] = []
        for number in range(20):
            writer.append(lines(1, first=number))
            connection.sendall(encode_message(Request(number, "apply", RUN.name)) + b"\n")
            kinds: set[type[object]] = set()
            while Reply not in kinds:
                kinds = {type(decode_message(line)) for line in connection.recv(1 << 16).splitlines()}
                woken_for.append(kinds)
    together = [kinds for kinds in woken_for if kinds == {Committed, Reply}]
    assert len(together) > 10  # now and then polling is faster


def test_a_change_of_one_run_opens_transactions_only_in_the_files_that_read_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "root", RUN.name, events=created("one"))
    begun: list[str] = []

    def trace(connection: apsw.Connection) -> None:
        def executed(cursor: apsw.Cursor, sql: str, _: object) -> bool:
            if sql.startswith("BEGIN IMMEDIATE"):
                begun.append(Path(connection.filename).name.partition("-")[0])
            return True

        connection.exec_trace = executed

    apsw.connection_hooks.append(trace)
    try:
        running = InProcess(tmp_path / "root", tmp_path / "state", PluginHost.load())
    finally:
        apsw.connection_hooks.remove(trace)
    running.work()
    assert {name for name, model in running.models.items() if not model.reads("run")} >= {"artifacts"}
    begun.clear()
    StreamWriter(run / "events.jsonl").append(lines(3))
    running.projector.apply_now(RUN)
    running.projector.close()
    assert begun == [name for name, model in running.models.items() if model.reads("run")]
