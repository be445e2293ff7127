"""Run by the interpreter of a virtual environment with nothing but Runicorn: `drive_installation.py ROOT` prints JSON.

A server with all its defaults, rate limits included, is asked for what a newcomer looks at first.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

import runicorn as rn
from runicorn.testing import Server

ASKED = ("/", "/docs", "/redoc", "/openapi.json", "/api/health", "/api/runs")


def main(root: Path) -> dict[str, dict[str, object]]:
    with rn.init("vision", storage=str(root), capture_env=False) as run:
        run.log({"loss": 0.5})
    answers: dict[str, dict[str, object]] = {}
    with Server(root) as server:
        asked = list(ASKED)
        for path in asked:
            with urllib.request.urlopen(server.url + path, timeout=30) as answer:
                text = answer.read().decode(errors="replace")
                answers[path] = {
                    "status": answer.status,
                    "kind": answer.headers["content-type"],
                    "limit": answer.headers["x-ratelimit-limit"],
                    "text": text if path == "/openapi.json" else text[:2000],
                }
            if path in ("/docs", "/redoc"):  # what the page needs comes from here, too
                asked += [link for link in re.findall(r'(?:src|href)="([^"]+)"', text) if link.startswith("/docs/")]
                assert not re.findall(r'(?:src|href)="(?:https?:)?//', text), f"{path} needs another machine"
    return answers


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
