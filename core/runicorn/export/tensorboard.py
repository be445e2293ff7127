"""A run as a TensorBoard event file, with torch."""

from __future__ import annotations

from typing import Any

from runicorn.export.run import ExportedRun
from runicorn.export.text import finite

_NO_SCALARS = frozenset({"time", "global_step", "step"})


def write_tensorboard(run: ExportedRun, directory: str) -> None:
    """Write every number of every metrics event as a scalar; its step is `global_step`, else the event's position.

    ImportError without torch and tensorboard, OSError if the directory cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter  # pyright: ignore

    writer: Any = SummaryWriter(log_dir=directory)
    try:
        for index, data in enumerate(run.metrics):
            step = finite(data.get("global_step", data.get("step")))
            for key, value in data.items():
                if isinstance(value, (int, float)) and key not in _NO_SCALARS:
                    writer.add_scalar(
                        key, value, index if step is None else int(step), walltime=finite(data.get("time"))
                    )
    finally:
        writer.close()
