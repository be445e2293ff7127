"""Calling `nvidia-smi`: real processes that answer, fail, babble and hang."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_system.nvidia_smi import Gpu, GpuUnavailable, NvidiaSmi, parse_line
from tests.plugins.system.fake_nvidia_smi import H200, FakeNvidiaSmi
from tests.serving import wait_until

NOWHERE = "/nonexistent"


def read(timeout_s: float = 20.0) -> list[Gpu]:
    return asyncio.run(NvidiaSmi(timeout_s).read())


def reason(timeout_s: float = 20.0) -> str:
    with pytest.raises(GpuUnavailable) as caught:
        read(timeout_s)
    return str(caught.value)


def test_every_column_has_its_place() -> None:
    assert msgspec.to_builtins(parse_line(H200)) == {
        "index": 0,
        "name": "NVIDIA H200",
        "util_gpu": 37.0,
        "util_mem": 12.0,
        "mem_total_mib": 143771.0,
        "mem_used_mib": 1024.0,
        "temp_c": 41.0,
        "power_w": 121.53,
        "power_limit_w": 700.0,
        "clock_sm_mhz": 1980.0,
        "clock_mem_mhz": 3201.0,
        "pstate": "P0",
        "fan_speed_pct": None,
        "mem_used_pct": 1024 * 100 / 143771,
    }


@pytest.mark.parametrize("absent", ["N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "ERR!", "", "inf", "nan"])
def test_what_a_gpu_does_not_report_is_null(absent: str) -> None:
    gpu = parse_line(f"1, X, {', '.join([absent] * 9)}, P8, {absent}")
    assert gpu.util_gpu is gpu.power_w is gpu.clock_mem_mhz is gpu.fan_speed_pct is None
    assert gpu.mem_used_pct is msgspec.UNSET


def test_commas_in_a_name_are_kept() -> None:
    gpu = parse_line(H200.replace("NVIDIA H200", "Big, bigger,  biggest"))
    assert (gpu.index, gpu.name, gpu.util_gpu) == (0, "Big, bigger,  biggest", 37.0)


@pytest.mark.parametrize(("used", "total", "share"), [("5", "0", None), ("5", "N/A", None), ("30", "20", 100.0)])
def test_used_memory_is_a_share_of_a_known_total(used: str, total: str, share: float | None) -> None:
    gpu = parse_line(H200.replace("143771, 1024", f"{total}, {used}"))
    assert gpu.mem_used_pct == (msgspec.UNSET if share is None else share)


@given(st.text(alphabet=st.sampled_from("0123456789,. N/A[]Pé-einfxX\t\x00"), max_size=120))
def test_a_line_is_a_gpu_or_an_error(line: str) -> None:
    try:
        gpu = parse_line(line)
    except ValueError:
        return
    assert all(value is None or abs(value) < float("inf") for value in (gpu.util_gpu, gpu.power_w, gpu.fan_speed_pct))


def test_the_command_is_asked_for_plain_numbers(command: FakeNvidiaSmi) -> None:
    command.prints(H200, H200.replace("0,", "1,", 1))
    assert [gpu.index for gpu in read()] == [0, 1]
    assert command.calls == [
        "--query-gpu=index,name,utilization.gpu,utilization.memory,memory.total,memory.used,temperature.gpu,power.draw,"
        "power.limit,clocks.sm,clocks.mem,pstate,fan.speed --format=csv,noheader,nounits"
    ]


def test_a_missing_command_is_named(command: FakeNvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", NOWHERE)
    assert reason() == "nvidia-smi not found in PATH"


def test_a_file_that_is_not_executable_is_no_command(command: FakeNvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    (command.directory / "nvidia-smi").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(command.directory))
    assert reason() == "nvidia-smi not found in PATH"


def test_a_file_that_cannot_be_run_has_failed(command: FakeNvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    (command.directory / "nvidia-smi").write_bytes(b"\x7fELF no")
    (command.directory / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(command.directory))
    assert reason() == "nvidia-smi failed"


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        ([H200], 1, "nvidia-smi failed"),
        (["NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."], 9, "nvidia-smi failed"),
        (["what is a gpu?"], 0, "nvidia-smi failed"),
        ([H200, "1, short"], 0, "nvidia-smi failed"),
        ([H200.replace("41", "warm")], 0, "nvidia-smi failed"),
        ([H200.replace("0, NVIDIA", "zero, NVIDIA")], 0, "nvidia-smi failed"),
        ([], 0, "no GPU found"),
        (["", "  "], 0, "no GPU found"),
        (["No devices were found"], 6, "no GPU found"),
        ([], 12, "nvidia-smi failed"),
    ],
)
def test_anything_but_readings_has_a_reason(command: FakeNvidiaSmi, lines: list[str], status: int, said: str) -> None:
    command.prints(*lines, status=status)
    assert reason() == said


def test_endless_output_is_cut_off(command: FakeNvidiaSmi) -> None:
    command.runs("yes")
    assert reason() == "nvidia-smi failed"


def test_a_command_that_hangs_is_ended_with_all_that_it_started(command: FakeNvidiaSmi) -> None:
    pids = command.directory / "pids"
    command.runs(f"sleep 600 &\necho $! $$ > {pids}.new && mv {pids}.new {pids}\nwait")
    assert reason(timeout_s=1.0) == "nvidia-smi timed out"
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not is_alive(int(pid)), f"the end of process {pid}")


def test_a_command_that_leaves_its_output_open_has_timed_out(command: FakeNvidiaSmi) -> None:
    command.runs(f"echo '{H200}'\nsleep 600 &")
    started = time.monotonic()
    assert reason(timeout_s=0.5) == "nvidia-smi timed out"
    assert time.monotonic() - started < 100


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False if os.path.isdir("/proc/self") else _answers(pid)


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
