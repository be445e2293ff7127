"""The service and the proxy of docs/operating.md: a server with the options of the unit, called as the proxy calls it."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

import runicorn
from tests.serving import Server

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    assert found is not None
    return found[1]


@pytest.fixture
def behind_proxy(serve: Callable[..., Server], tmp_path: Path) -> Server:
    """With the options of the unit; the directories are others."""
    unit = ConfigParser(interpolation=None)
    unit.read_string(block("ini"))
    _, command, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert command == "serve"
    for option, directory in (("--storage", "root"), ("--state-dir", "state")):
        where = arguments.index(option)
        arguments[where : where + 2] = [] if option == "--storage" else [option, str(tmp_path / directory)]
    return serve(tmp_path / "root", *arguments)


def headers(*, scheme: str = "https") -> dict[str, str]:
    """What the proxy sends on of the request of a browser, and adds."""
    lines = dict(re.findall(r"proxy_set_header +(\S+) (\S+);", block("nginx")))
    assert lines["Host"] == "$host"
    return {"Host": "runs.example.com", "X-Forwarded-For": "203.0.113.7", "Origin": f"{scheme}://runs.example.com"}


def test_a_browser_may_read_change_and_listen_through_the_proxy(behind_proxy: Server) -> None:
    behind_proxy.wait_until_live()
    with runicorn.init("p", storage=str(behind_proxy.root), capture_env=False) as run:
        runicorn.log_text("hello")
    behind_proxy.wait_until_visible()
    assert [one["id"] for one in behind_proxy.http.get("/api/runs", headers=headers()).json()] == [run.id]
    deleted = behind_proxy.http.post("/api/runs/soft-delete", json={"run_ids": [run.id]}, headers=headers())
    assert deleted.status_code == 200, deleted.text
    restored = behind_proxy.http.post("/api/recycle-bin/restore", json={"run_ids": [run.id]}, headers=headers())
    assert restored.status_code == 200, restored.text
    sent = {name: value for name, value in headers().items() if name == "X-Forwarded-For"}
    url = f"ws://runs.example.com/api/runs/{run.id}/logs/ws"
    to_proxy = socket.create_connection(("127.0.0.1", behind_proxy.port))
    with connect(url, sock=to_proxy, origin=Origin("https://runs.example.com"), additional_headers=sent) as client:
        assert "hello" in str(client.recv(timeout=20))


def test_another_page_or_another_name_is_refused(behind_proxy: Server) -> None:
    foreign = {**headers(), "Origin": "https://elsewhere.example.com"}
    body = {"run_ids": ["x"]}
    assert behind_proxy.http.post("/api/runs/soft-delete", json=body, headers=foreign).status_code == 403
    assert behind_proxy.http.get("/api/runs", headers={**headers(), "Host": "elsewhere.example.com"}).status_code == 400


def test_clients_are_counted_by_the_address_that_the_proxy_tells(behind_proxy: Server) -> None:
    def left(address: str) -> int:
        answer = behind_proxy.http.get("/api/runs", headers={**headers(), "X-Forwarded-For": address})
        return int(answer.headers["x-ratelimit-remaining"])

    assert left("203.0.113.7") - left("203.0.113.7") == 1
    assert left("203.0.113.8") > left("203.0.113.7")


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = ConfigParser(interpolation=None)
    unit.read_string(block("ini"))
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}
    verify = shutil.which("systemd-analyze")
    if verify is not None:  # where there is one; the program and the user of the unit are not on this machine
        path = tmp_path / "runicorn.service"
        path.write_text(block("ini").replace("/opt/runicorn/bin/runicorn", shutil.which("true") or "/bin/true"))
        done = subprocess.run([verify, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
        about_it = [line for line in done.stderr.splitlines() if "runicorn.service" in line]
        assert about_it == []


BENCHMARKS = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
LONG, SHORT = "10 runs × 250 000 events × 4 metrics", "100 000 runs × 25 events × 4 metrics"
MEMORY = "memory of `serve`, all processes, with 100 000 runs and 10 000 000 points"
FIGURES = {
    "the log, per point of a metric": (f"read models of {LONG}", r"events.jsonl: ([\d.]+) bytes/point"),
    "read models, per point of a metric": (f"read models of {LONG}", r"([\d.]+) bytes/point;"),
    "read models, per run of 100 points": (f"read models of {SHORT}", r"([\d ]+) bytes/run"),
    "a replay of 10 runs with 10 million points": (f"cold replay of {LONG}", r" in ([\d.]+) s"),
    "a replay of 100 000 runs with 10 million points": (f"cold replay of {SHORT}", r" in ([\d.]+) s"),
    "memory for a replay of 100 000 runs, at most": (f"cold replay of {SHORT}", r"at most ([\d.]+) MiB"),
    "memory of all processes with 100 000 runs, after the start": (MEMORY, r"([\d.]+) MiB after start"),
    "memory of all processes with 100 000 runs, after the list of all of them": (
        MEMORY,
        r"([\d.]+) MiB after `GET /api/runs`",
    ),
}


def test_the_figures_for_sizing_are_those_of_the_benchmarks() -> None:
    """About: whoever measures again need not change the page for a few per cent."""
    said = dict(re.findall(r"^\| (.+?) \| ([\d.]+) (?:bytes|s|MiB) \|$", PAGE, re.M))
    assert set(said) == set(FIGURES)
    for what, (row, pattern) in FIGURES.items():
        (line,) = [line for line in BENCHMARKS.splitlines() if line.startswith(f"| {row} |")]
        found = re.search(pattern, line)
        assert found is not None, f"{what}: {line}"
        measured = float(found[1].replace(" ", ""))
        assert float(said[what]) == pytest.approx(measured, rel=0.2), f"{what}: measured {measured}"
