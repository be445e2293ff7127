from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from typing import BinaryIO, TextIO

from runicorn.server.access_log import MAX_WAITING, AccessLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def recorded(stream: io.StringIO) -> str:
    async def run() -> None:
        log = AccessLog(stream)
        log.record("GET", "/api/runs/{run_id}", 200, 0.00125, "127.0.0.1")
        log.record("GET", "/\x1b[31mred", 404, 0.001, "127.0.0.1")
        log.flush()

    asyncio.run(run())
    return stream.getvalue()


def test_each_request_is_a_json_object_on_one_line():
    first, second = map(json.loads, recorded(io.StringIO()).splitlines())

    assert (first["method"], first["path"], first["status"], first["ms"]) == ("GET", "/api/runs/{run_id}", 200, 1.25)
    assert second["path"] == "/\x1b[31mred"


def test_on_a_terminal_lines_are_for_people_and_cannot_control_it():
    text = recorded(Terminal())

    assert "200 GET    /api/runs/{run_id}  1.2 ms  127.0.0.1" in text
    assert "\x1b" not in text


def test_the_log_level_decides_whether_requests_are_logged(serve):
    quiet, normal = serve(None, "--log-level", "warning"), serve()
    for server in (quiet, normal):
        server.http.get("/api/health")
        server.stop()

    assert '"path":"/api/health"' in normal.log
    assert '"path"' not in quiet.log


def test_a_reader_that_pauses_holds_up_nobody_and_hears_how_much_it_missed():
    receive, send = os.pipe()
    too_long = threading.Timer(
        60.0, os.close, [receive]
    )  # a log that waits for its reader then fails, not this process
    too_long.start()
    with open(receive, "rb") as reader, open(send, "w", encoding="utf-8") as stream:
        *written, note, last = asyncio.run(_logged_before_and_after_a_pause(reader, stream))
        too_long.cancel()

    assert [line["path"] for line in written] == [f"/api/runs/{number}" for number in range(MAX_WAITING)]
    assert note["message"] == f"{2 * MAX_WAITING} requests are missing here: nobody read the log"
    assert last["path"] == "/api/health"


async def _logged_before_and_after_a_pause(reader: BinaryIO, stream: TextIO) -> list[dict[str, object]]:
    log = AccessLog(stream)
    for number in range(3 * MAX_WAITING):
        log.record("GET", f"/api/runs/{number}", 200, 0.001, "127.0.0.1")
    await asyncio.sleep(0.3)  # comes back although nobody reads
    written = [json.loads(await asyncio.to_thread(reader.readline)) for _ in range(MAX_WAITING)]
    log.record("GET", "/api/health", 200, 0.001, "127.0.0.1")
    log.flush()
    return written + [json.loads(await asyncio.to_thread(reader.readline)) for _ in range(2)]


def test_a_stream_that_fails_costs_lines_but_no_request():
    stream = io.StringIO()
    log = AccessLog(stream)
    stream.close()

    async def run() -> None:
        for _ in range(3):
            log.record("GET", "/api/runs", 200, 0.001, "127.0.0.1")
            log.flush()

    asyncio.run(run())
    assert log.enabled
