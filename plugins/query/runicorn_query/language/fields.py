"""What a query can speak of, and the name of each in the language.

| name                                            | is                                                              |
|-------------------------------------------------|-----------------------------------------------------------------|
| `id`, `project`, `name`, `status`, `description`, `best_metric_name` | text                                       |
| `tag`                                           | any of the run's tags                                           |
| `note`                                          | any text under `note` or `notes` in summary and configuration   |
| `best_metric`, `best_step`, `metric_count`      | a number                                                        |
| `duration`                                      | a number of seconds                                             |
| `created`, `updated`, `started`, `ended`, `deleted` | a time                                                      |
| `summary.KEY`, `config.KEY`                     | a number or text; the parts of nested keys are joined by dots   |
| `metric.NAME`, `metric.NAME.last`, `.min`, `.max`, `.count` | a number                                            |

The names that answers of the API have (`created_at`, `duration_seconds`, …) are understood, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Kind: TypeAlias = Literal["text", "number", "duration", "time"]
Statistic: TypeAlias = Literal["last", "min", "max", "count"]

KINDS: dict[str, Kind] = {
    "id": "text",
    "project": "text",
    "name": "text",
    "status": "text",
    "description": "text",
    "best_metric_name": "text",
    "best_metric": "number",
    "best_step": "number",
    "metric_count": "number",
    "duration": "duration",
    "created": "time",
    "updated": "time",
    "started": "time",
    "ended": "time",
    "deleted": "time",
}
_ALIASES = {
    "run_id": "id",
    "best_metric_value": "best_metric",
    "best_metric_step": "best_step",
    "duration_seconds": "duration",
    "created_at": "created",
    "created_time": "created",
    "updated_at": "updated",
    "started_at": "started",
    "ended_at": "ended",
    "deleted_at": "deleted",
    "tags": "tag",
    "notes": "note",
}
STATISTICS: tuple[Statistic, ...] = ("last", "min", "max", "count")
_FAMILIES = ("summary", "config", "metric")
FIELD_NAMES = (*KINDS, "tag", "note", "summary.KEY", "config.KEY", "metric.NAME.last")


class ColumnField(msgspec.Struct, frozen=True, tag=True):
    """A fact that every run may have."""

    name: str
    kind: Kind


class TagField(msgspec.Struct, frozen=True, tag=True):
    """The tags: a test holds if one of them passes it."""

    name: Literal["tag"] = "tag"


class NoteField(msgspec.Struct, frozen=True, tag=True):
    """The notes: a test holds if one of them passes it."""

    name: Literal["note"] = "note"


class AttributeField(msgspec.Struct, frozen=True, tag=True):
    """A value that the training gave: a number or text."""

    source: Literal["summary", "config"]
    key: str

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.source}.{self.key}"


class MetricField(msgspec.Struct, frozen=True, tag=True):
    """A statistic of a metric; `last` is its value at the highest step that has one."""

    metric: str
    statistic: Statistic = "last"

    @property
    def name(self) -> str:
        """As people write it."""
        return f"metric.{self.metric}.{self.statistic}"


Field: TypeAlias = ColumnField | TagField | NoteField | AttributeField | MetricField


class Segment(NamedTuple):
    """A part of a name between dots."""

    text: str
    is_quoted: bool


class UnknownField(ValueError):
    """There is no such field; the text says which there are."""


def field_named(segments: Sequence[Segment]) -> Field:
    """The field that a name means. UnknownField if there is none."""
    first = segments[0]
    name = _ALIASES.get(first.text, first.text)
    if first.is_quoted:
        raise UnknownField("a field is written without quotes around it")
    if name in _FAMILIES:
        return _member(name, segments[1:])
    if len(segments) == 1 and name == "tag":
        return TagField()
    if len(segments) == 1 and name == "note":
        return NoteField()
    if len(segments) == 1 and name in KINDS:
        return ColumnField(name, KINDS[name])
    raise UnknownField(f"no such field; there are {', '.join(FIELD_NAMES)}")


def _member(family: str, rest: Sequence[Segment]) -> Field:
    if not rest or any(not segment.text for segment in rest):
        raise UnknownField(f"`{family}.` is followed by a name, such as `{family}.{_EXAMPLES[family]}`")
    if family != "metric":
        return AttributeField("summary" if family == "summary" else "config", _joined(rest))
    last = rest[-1]
    for statistic in STATISTICS if len(rest) > 1 and not last.is_quoted else ():
        if statistic == last.text:
            return MetricField(_joined(rest[:-1]), statistic)
    return MetricField(_joined(rest))


_EXAMPLES = {"summary": "accuracy", "config": "lr", "metric": "loss.min"}


def _joined(segments: Sequence[Segment]) -> str:
    return ".".join(segment.text for segment in segments)
