"""What `nvidia-smi` prints about the GPUs of this machine, and how it is called.

The command may be absent, may fail, and may hang: with a broken driver it can even survive SIGKILL for minutes. Whatever
happens, a call is over after about its timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal

import msgspec

NOT_FOUND = "nvidia-smi not found in PATH"
FAILED = "nvidia-smi failed"
TIMED_OUT = "nvidia-smi timed out"
NO_GPU = "no GPU found"

_QUERY = (
    "index,name,utilization.gpu,utilization.memory,memory.total,memory.used,temperature.gpu,power.draw,power.limit,"
    "clocks.sm,clocks.mem,pstate,fan.speed"
)
_COMMAND = ("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")
_COLUMNS = _QUERY.count(",") + 1
_AFTER_NAME = _COLUMNS - 2
_ABSENT = frozenset({"", "n/a", "err!"})
_NONE_FOUND = "no devices were found"  # printed on standard output, with a non-zero exit in newer versions
_MAX_BYTES = 1 << 20
_KILL_S = 0.5  # how long a killed process may take to go before it is left to itself


class GpuUnavailable(Exception):
    """There is no reading; the text is one of the reasons above."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU. What it does not report is null."""

    index: int
    name: str
    util_gpu: float | None
    """Percent."""
    util_mem: float | None
    """Percent of the time in which memory was read or written."""
    mem_total_mib: float | None
    mem_used_mib: float | None
    temp_c: float | None
    power_w: float | None
    power_limit_w: float | None
    clock_sm_mhz: float | None
    clock_mem_mhz: float | None
    pstate: str
    fan_speed_pct: float | None
    mem_used_pct: float | msgspec.UnsetType = msgspec.UNSET
    """0…100; left out if the total is unknown."""


class NvidiaSmi:
    """Calls the command, one call at a time. A process that cannot be killed keeps further ones from being started."""

    def __init__(self, timeout_s: float = 3.0) -> None:
        self._timeout_s = timeout_s
        self._stuck: _Output | None = None

    async def read(self) -> list[Gpu]:
        """The GPUs now. GpuUnavailable if there are none, or if the command is absent, fails or takes too long."""
        if self._stuck is not None and not self._stuck.exited.is_set():
            raise GpuUnavailable(TIMED_OUT)
        try:
            transport, output = await asyncio.get_running_loop().subprocess_exec(
                _Output,
                *_COMMAND,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # so that what it starts itself is ended with it
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            raise GpuUnavailable(NOT_FOUND) from None
        except OSError:
            raise GpuUnavailable(FAILED) from None
        try:
            async with asyncio.timeout(self._timeout_s):
                await output.complete.wait()
        except TimeoutError:
            raise GpuUnavailable(TIMED_OUT) from None
        finally:  # cancellation included: nothing may go on running
            await asyncio.shield(self._end(transport, output))
        return _gpus(bytes(output.data), transport.get_returncode())

    async def _end(self, transport: asyncio.SubprocessTransport, output: _Output) -> None:
        if not output.is_closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            try:
                async with asyncio.timeout(_KILL_S):
                    await output.exited.wait()
            except TimeoutError:
                self._stuck = output
        transport.close()


class _Output(asyncio.SubprocessProtocol):
    """What a process has printed. `complete` once it has ended and closed its output, or printed too much."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.complete = asyncio.Event()
        self.exited = asyncio.Event()
        self.is_closed = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if len(self.data) <= _MAX_BYTES:
            self.data += data
        else:
            self.complete.set()

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.complete.set()


def _gpus(output: bytes, status: int | None) -> list[Gpu]:
    if status is None:
        raise GpuUnavailable(FAILED)  # it printed more than any number of GPUs takes
    text = output.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if _NONE_FOUND in text.lower() or (not lines and status == 0):
        raise GpuUnavailable(NO_GPU)
    if status != 0:
        raise GpuUnavailable(FAILED)
    try:
        return [parse_line(line) for line in lines]
    except ValueError:
        raise GpuUnavailable(FAILED) from None


def parse_line(line: str) -> Gpu:
    """The GPU in one line of the command's output; its name may contain commas. ValueError if it is anything else."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < _COLUMNS:
        raise ValueError(f"{len(fields)} fields")
    index, name, rest = fields[0], ",".join(line.split(",")[1:-_AFTER_NAME]).strip(), fields[-_AFTER_NAME:]
    util_gpu, util_mem, total, used, temperature, power, limit, clock_sm, clock_mem = map(_number, rest[:-2])
    return Gpu(
        index=int(index),
        name=name,
        util_gpu=util_gpu,
        util_mem=util_mem,
        mem_total_mib=total,
        mem_used_mib=used,
        temp_c=temperature,
        power_w=power,
        power_limit_w=limit,
        clock_sm_mhz=clock_sm,
        clock_mem_mhz=clock_mem,
        pstate=rest[-2],
        fan_speed_pct=_number(rest[-1]),
        mem_used_pct=min(max(used * 100 / total, 0.0), 100.0) if total and used is not None else msgspec.UNSET,
    )


def _number(text: str) -> float | None:
    """A finite number; None for `N/A`, `[Not Supported]`, `[Unknown Error]` and the like. ValueError for other text."""
    if text.lower() in _ABSENT or (text.startswith("[") and text.endswith("]")):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
