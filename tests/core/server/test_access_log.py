from __future__ import annotations

import asyncio
import io
import json

from runicorn.server.access_log import AccessLog


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
