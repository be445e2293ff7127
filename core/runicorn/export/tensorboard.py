"""A run as a TensorBoard event file, with torch."""

from __future__ import annotations

from typing import Any

from runicorn.export.run import ExportedRun, numbers_in, step_of
from runicorn.fields import number


def write_tensorboard(run: ExportedRun, directory: str) -> None:
    """Write every number of every metrics event as a scalar; its step is `global_step`, else the event's position.

    ImportError without torch and tensorboard, OSError if the directory cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter  # pyright: ignore

    writer: Any = SummaryWriter(log_dir=directory)
    try:
        for index, data in enumerate(run.metrics):
            step, at = int(step_of(data, index)), number(data.get("time"))
            for key, value in numbers_in(data):
                writer.add_scalar(key, value, step, walltime=at)
    finally:
        writer.close()
