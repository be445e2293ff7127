"""`lifecycle.json`: the stage of a version and its evaluations. 0.4.0 kept these in `metadata.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from runicorn.plugin import number, text

EXPERIMENTAL = "experimental"
STAGING = "staging"
PRODUCTION = "production"
ARCHIVED = "archived"

STAGES = (EXPERIMENTAL, STAGING, PRODUCTION, ARCHIVED)

_ALLOWED = {
    EXPERIMENTAL: (STAGING, ARCHIVED),
    STAGING: (PRODUCTION, EXPERIMENTAL, ARCHIVED),
    PRODUCTION: (STAGING, ARCHIVED),
    ARCHIVED: (EXPERIMENTAL,),
}
_EVALUATIONS_KEPT = 10
_METRICS_SUMMARIZED = 5


def is_allowed(from_stage: str, to_stage: str) -> bool:
    """Whether a version may be moved so."""
    return to_stage in _ALLOWED[from_stage]


@dataclass
class Lifecycle:
    """Where a version is in its life."""

    stage: str = EXPERIMENTAL
    updated_at: float | None = None
    transitions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    evaluations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """From the content of `lifecycle.json`, or of a `metadata.json` of 0.4.0. Unknown stages are the first one."""
        stage = text(data.get("lifecycle_stage"))
        return cls(
            stage if stage in STAGES else EXPERIMENTAL,
            number(data.get("lifecycle_updated_at")),
            _objects(data.get("stage_transitions")),
            _objects(data.get("evaluations")),
        )

    def to_dict(self) -> dict[str, Any]:
        """As `lifecycle.json` has it."""
        return {
            "lifecycle_stage": self.stage,
            "lifecycle_updated_at": self.updated_at,
            "stage_transitions": self.transitions,
            "evaluations": self.evaluations,
        }

    def move(self, to_stage: str, ts: float, notes: str | None, evaluator_run_id: str | None) -> None:
        """Note a transition."""
        self.transitions.append(
            {
                "from_stage": self.stage,
                "to_stage": to_stage,
                "timestamp": ts,
                "notes": notes,
                "evaluator_run_id": evaluator_run_id,
            }
        )
        self.stage, self.updated_at = to_stage, ts

    def note_evaluation(self, eval_id: str, ts: float, status: str, metrics: Mapping[str, float]) -> None:
        """Note an evaluation; the last ten are kept."""
        summary = dict(list(metrics.items())[:_METRICS_SUMMARIZED])
        self.evaluations.append({"eval_id": eval_id, "date": ts, "status": status, "metrics_summary": summary})
        del self.evaluations[:-_EVALUATIONS_KEPT]
        self.updated_at = ts


def _objects(value: object) -> list[dict[str, Any]]:
    items = cast(list[object], value) if isinstance(value, list) else []
    return [dict(cast(Mapping[str, Any], item)) for item in items if isinstance(item, dict)]
