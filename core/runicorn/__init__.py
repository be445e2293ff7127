"""Runicorn: local-first experiment tracking.

    import runicorn as rn

    with rn.init("vision", name="resnet") as run:
        rn.log(loss=0.5)

Names are imported when they are first used, so that `import runicorn` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runicorn.version import __version__ as __version__

if TYPE_CHECKING:
    from runicorn.artifacts import Artifact, ArtifactType
    from runicorn.sdk.active import (
        configure,
        finish,
        get_active_run,
        init,
        log,
        log_artifact,
        log_image,
        log_text,
        set_primary_metric,
        summary,
        use_artifact,
    )
    from runicorn.sdk.environment import EnvironmentCapture, EnvironmentInfo
    from runicorn.sdk.experiments import ExperimentManager, ExperimentMetadata
    from runicorn.sdk.exporter import MetricsExporter
    from runicorn.sdk.monitor import AlertRule, AnomalyDetector, MetricMonitor
    from runicorn.sdk.run import Run

__all__ = [
    "AlertRule",
    "AnomalyDetector",
    "Artifact",
    "ArtifactType",
    "EnvironmentCapture",
    "EnvironmentInfo",
    "ExperimentManager",
    "ExperimentMetadata",
    "MetricMonitor",
    "MetricsExporter",
    "Run",
    "configure",
    "finish",
    "get_active_run",
    "init",
    "log",
    "log_artifact",
    "log_image",
    "log_text",
    "set_primary_metric",
    "summary",
    "use_artifact",
]

_HOMES = {
    "runicorn.artifacts": ("Artifact", "ArtifactType"),
    "runicorn.sdk.active": (
        "configure",
        "finish",
        "get_active_run",
        "init",
        "log",
        "log_artifact",
        "log_image",
        "log_text",
        "set_primary_metric",
        "summary",
        "use_artifact",
    ),
    "runicorn.sdk.environment": ("EnvironmentCapture", "EnvironmentInfo"),
    "runicorn.sdk.experiments": ("ExperimentManager", "ExperimentMetadata"),
    "runicorn.sdk.exporter": ("MetricsExporter",),
    "runicorn.sdk.monitor": ("AlertRule", "AnomalyDetector", "MetricMonitor"),
    "runicorn.sdk.run": ("Run",),
}
"""Where each public name lives."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
