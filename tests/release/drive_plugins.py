"""Run by the interpreter of a virtual environment: what a user of it sees. `drive_plugins.py ASPECT ROOT` prints JSON.

`train` logs three runs; `ask` prints what the server answers to everybody; `plugins` uses what the plugins contribute, with a
webhook on this machine.
"""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

import runicorn as rn
from runicorn.plugin import config_file
from runicorn.testing import Server, wait_until

ASKED = ("/api/runs", "/api/v2/experiments", "/api/artifacts", "/api/projects", "/openapi.json")
NOT_COMPARED = re.compile(r'"query_time_ms":[0-9.]+')


def train(root: Path) -> list[str]:
    ids: list[str] = []
    for best in (0.5, 0.9, 0.7):
        with rn.init("vision", storage=str(root), capture_env=False) as run:
            rn.set_primary_metric("accuracy")
            rn.log({"accuracy": best})
        ids.append(run.id)
    return ids


def ask(root: Path) -> dict[str, str]:
    with Server(root, "--rate-limit", "off") as server:
        server.wait_until_visible()
        answers = {path: NOT_COMPARED.sub("", server.http.get(path).text) for path in ASKED}
        for run in json.loads(answers["/api/runs"]):
            for path in (f"/api/runs/{run['id']}", f"/api/runs/{run['id']}/metrics_step"):
                answers[path] = server.http.get(path).text
        return answers


def plugins(root: Path) -> dict[str, Any]:
    received: list[str] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["type"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    settings = {
        "url": f"http://127.0.0.1:{receiver.server_port}/",
        "secret": "x" * 20,
        "allow_networks": ["127.0.0.1/32"],
    }
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(json.dumps({"notify": settings}))
    with Server(root, "--rate-limit", "off") as server:
        server.wait_until_visible()
        train(root)
        server.wait_until_visible()
        wait_until(lambda: received.count("run.finished") == 3, "three webhooks")
        seen = {
            "states": {name: told["status"] for name, told in server.health()["plugins"].items()},
            "leaderboard": [place["best"] for place in server.http.get("/api/leaderboard/vision").json()],
            "endings": server.http.get("/api/endings").json(),
            "leaderboard on the command line": json.loads(server.command("leaderboard", "vision", "--json")),
            "endings on the command line": json.loads(server.command("endings", "--json")),
            "webhook on the command line": server.command("notify"),
            "webhooks": received,
            "files": [path.name for path in server.state_dir.rglob("*")],
        }
    config_file().unlink()
    return seen


if __name__ == "__main__":
    aspects = {"train": train, "ask": ask, "plugins": plugins}
    print(json.dumps(aspects[sys.argv[1]](Path(sys.argv[2]))))
