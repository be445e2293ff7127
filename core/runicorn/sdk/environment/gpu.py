"""The GPUs of this machine, at the start of a run."""

from __future__ import annotations

import sys
from typing import Any

from runicorn.files import parse_json
from runicorn.sdk.environment.command import output_of

_TIMEOUT_S = 10.0  # without persistence mode the driver loads first, which takes seconds
_TORCH_TIMEOUT_S = 30.0
_QUERY = "index,name,memory.total,memory.free,utilization.gpu,temperature.gpu"
_TORCH = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps([
    {"index": i, "name": gpu.name, "memory_total_mb": gpu.total_memory // 2**20,
     "compute_capability": f"{gpu.major}.{gpu.minor}"}
    for i, gpu in enumerate(gpus)
]))
"""


def gpu_info() -> list[dict[str, Any]] | None:
    """Index, name, memory in MiB, utilization and temperature of each GPU; None if there is none, or no way to ask.

    Asks `nvidia-smi`; without it torch, if this process uses it. Torch is asked in a process of its own: here it
    would create a CUDA context, which takes GPU memory and breaks a later fork.
    """
    output = output_of(["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"], timeout_s=_TIMEOUT_S)
    if output is not None:
        return [gpu for line in output.splitlines() if (gpu := _gpu(line))] or None
    torch = sys.modules.get("torch")
    if torch is None or not sys.executable or getattr(getattr(torch, "version", None), "cuda", None) is None:
        return None
    answer = output_of([sys.executable, "-c", _TORCH], timeout_s=_TORCH_TIMEOUT_S)
    return (parse_json(answer.encode()) or None) if answer else None


def _gpu(line: str) -> dict[str, Any] | None:
    """One line of nvidia-smi; None if it is not one. The name may hold commas."""
    index, _, rest = line.partition(",")
    name, *numbers = rest.rsplit(",", 4)
    if len(numbers) != 4 or not index.strip().isdecimal():
        return None
    total, free, utilization, temperature = map(_number, numbers)
    return {
        "index": int(index),
        "name": name.strip(),
        "memory_total_mb": total,
        "memory_free_mb": free,
        "utilization_percent": utilization,
        "temperature_c": temperature,
    }


def _number(text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:  # `[N/A]`, `[Not Supported]`
        return None
    return int(value) if value.is_integer() else value
