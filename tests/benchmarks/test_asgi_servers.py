"""The comparison of ASGI servers: its application stands behind the guard of today."""

from __future__ import annotations

from benchmarks import asgi_servers
from benchmarks.client import Client


def test_the_application_behind_the_guard_answers_and_closes_its_websockets() -> None:
    with asgi_servers.served("uvicorn") as (process, port):
        client = Client(f"http://127.0.0.1:{port}")
        answer = client.get("/api/small")
        client.close()
        assert (answer.status, answer.body) == (200, b'{"answer":42}')
        _, codes = asgi_servers.shutdown(process, port)
        assert codes == {1001}
        assert process.returncode == 0
