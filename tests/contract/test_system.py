"""GPU telemetry and configuration over HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.plugins.system.fake_nvidia_smi import H200, FakeNvidiaSmi
from tests.serving import Server, serve, wait_until

__all__ = ["serve"]

READINGS = {"available", "ts", "gpus"}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> FakeNvidiaSmi:
    return FakeNvidiaSmi(tmp_path_factory.mktemp("gpu") / "bin")


@pytest.fixture(scope="module")
def server(command: FakeNvidiaSmi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("system")
    environment = {"PATH": command.path, "XDG_CONFIG_HOME": str(base / "config")}
    server = Server(base / "root", "--rate-limit", "off", environment=environment)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


def telemetry(server: Server) -> dict[str, object]:
    response = server.http.get("/api/gpu/telemetry")
    assert response.status_code == 200
    return response.json()


def telemetry_when(server: Server, condition: Callable[[dict[str, object]], object]) -> dict[str, object]:
    """The first answer that fulfils `condition`; earlier ones may come from before the command changed."""
    found: list[dict[str, object]] = []

    def asked() -> bool:
        found.append(telemetry(server))
        return bool(condition(found[-1]))

    wait_until(asked, "the telemetry to change")
    return found[-1]


def test_gpus_are_shown_with_what_they_report(server: Server, command: FakeNvidiaSmi) -> None:
    command.prints(H200, "1, Tesla, T4, 0, 0, 0, 0, [N/A], [Not Supported], N/A, , 405, P8, 30")
    answer = telemetry_when(server, lambda answer: answer["available"])
    assert set(answer) == READINGS
    first, second = answer["gpus"]
    assert list(first) == [
        "index", "name", "util_gpu", "util_mem", "mem_total_mib", "mem_used_mib", "temp_c", "power_w", "power_limit_w",
        "clock_sm_mhz", "clock_mem_mhz", "pstate", "fan_speed_pct", "mem_used_pct",
    ]  # fmt: skip
    assert first["mem_used_pct"] == pytest.approx(0.7122437765613371)
    assert (second["name"], second["temp_c"], second["clock_sm_mhz"]) == ("Tesla, T4", None, None)
    assert "mem_used_pct" not in second


def test_the_api_answers_while_the_command_hangs(server: Server, command: FakeNvidiaSmi) -> None:
    command.runs("sleep 600")
    with ThreadPoolExecutor(1) as pool:
        wait_until(lambda: telemetry_is_slow(server, pool), "a call of the new command")
    assert telemetry_when(server, lambda answer: "reason" in answer)["reason"] == "nvidia-smi timed out"
    health = server.http.get("/api/health").json()["plugins"]["system"]
    assert health == {"status": "degraded", "detail": "GPU telemetry: nvidia-smi timed out"}


def telemetry_is_slow(server: Server, pool: ThreadPoolExecutor) -> bool:
    answer = pool.submit(httpx.get, f"{server.url}/api/gpu/telemetry", timeout=20)
    while not answer.done():
        assert server.http.get("/api/config").status_code == 200
    return answer.result().json() == {"available": False, "reason": "nvidia-smi timed out"}


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [(["garbage"], 0, "nvidia-smi failed"), ([H200], 3, "nvidia-smi failed"), ([], 0, "no GPU found")],
)
def test_trouble_is_an_answer(
    server: Server, command: FakeNvidiaSmi, lines: list[str], status: int, reason: str
) -> None:
    command.prints(*lines, status=status)
    answer = telemetry_when(server, lambda answer: answer.get("reason") == reason)
    assert answer == {"available": False, "reason": reason}


def test_a_machine_without_the_command_is_healthy(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(None, environment={"PATH": "/nonexistent"})
    assert server.http.get("/api/health").json()["plugins"]["system"] == {"status": "ok", "detail": None}
    assert telemetry(server) == {"available": False, "reason": "nvidia-smi not found in PATH"}
    report = server.http.get("/api/health").json()
    assert report["plugins"]["system"] == {"status": "ok", "detail": "GPU telemetry: nvidia-smi not found in PATH"}
    assert report["status"] == "ok"


def test_configuration_without_a_file_names_where_it_would_be(server: Server) -> None:
    config = Path(server.http.get("/api/config").json()["config_file"])
    assert not config.exists()
    assert server.http.get("/api/config").json() == {
        "user_root_dir": "",
        "storage": str(server.root),
        "config_file": str(config),
        "version": server.http.get("/api/health").json()["version"],
    }


def test_configuration_tells_the_chosen_root_and_the_one_in_use(serve: Callable[..., Server], tmp_path: Path) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"], "runicorn", "config.json")
    config.parent.mkdir()
    config.write_text(json.dumps({"user_root_dir": "/data/runicorn", "other": 1}))
    server = serve(tmp_path / "elsewhere")
    answer = server.http.get("/api/config").json()
    assert (answer["user_root_dir"], answer["storage"]) == ("/data/runicorn", str(tmp_path / "elsewhere"))
    assert answer["config_file"] == str(config)
    for broken in ("[1]", "{", '{"user_root_dir": 5}'):
        config.write_text(broken)
        assert server.http.get("/api/config").json()["user_root_dir"] == ""


def test_the_polled_route_has_room_for_the_web_interface(serve: Callable[..., Server]) -> None:
    server = serve(None, environment={"PATH": "/nonexistent"})
    limits = {
        path: server.http.get(path).headers["x-ratelimit-limit"] for path in ("/api/gpu/telemetry", "/api/config")
    }
    assert limits == {"/api/gpu/telemetry": "240", "/api/config": "60"}


def test_both_routes_are_in_the_api_description(server: Server) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    assert {"/api/gpu/telemetry", "/api/config"} <= set(paths)


def test_the_machine_is_shown_and_looked_at_once_a_second(server: Server) -> None:
    def readings() -> dict[str, object]:
        response = server.http.get("/api/system/telemetry")
        assert response.status_code == 200
        return response.json()

    first, second = readings(), readings()
    assert list(first) == ["ts", "cpu", "memory", "swap", "disk"]
    assert abs(first["ts"] - time.time()) < 60
    assert second["ts"] in (first["ts"], second["ts"])
    assert 0 <= first["cpu"]["percent"] <= 100
    assert first["cpu"]["count"] >= 1
    assert 0 < first["memory"]["available_bytes"] <= first["memory"]["total_bytes"]
    assert first["disk"]["total_bytes"] > 0
    assert set(first["disk"]) == {"total_bytes", "used_bytes", "free_bytes", "percent"}
    wait_until(lambda: readings()["ts"] > first["ts"], "new readings")
    assert server.http.get("/api/system/telemetry").headers["x-ratelimit-limit"] == "240"
