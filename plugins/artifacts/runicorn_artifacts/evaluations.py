"""Evaluation records of a root, `<root>/evaluations/*.json`: read once each, listed again when the folder changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.plugin import Store, dump_json, integer, number, read_json_object, text
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.promoting import EVALUATIONS


class EvaluationRecord(msgspec.Struct, frozen=True):
    """One evaluation, as `GET /api/artifacts/{name}/evaluations` shows it."""

    id: str
    model_name: str
    model_type: str | None
    """None in records of 0.4.0, which mean any type."""
    model_version: int
    evaluation_date: float
    evaluator_run_id: str | None
    metrics: msgspec.Raw
    test_dataset: str | None
    status: str | None
    notes: str | None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> EvaluationRecord | None:
        """From the content of a file; None if it does not say what was evaluated."""
        name, version, id = (
            text(content.get("model_name")),
            integer(content.get("model_version")),
            text(content.get("id")),
        )
        if name is None or version is None or id is None:
            return None
        metrics: object = content.get("metrics")
        values = cast(dict[str, Any], metrics) if isinstance(metrics, dict) else {}
        return cls(
            id,
            name,
            text(content.get("model_type")),
            version,
            number(content.get("evaluation_date")) or 0.0,
            text(content.get("evaluator_run_id")),
            msgspec.Raw(dump_json(finite(values))),
            text(content.get("test_dataset")),
            text(content.get("status")),
            text(content.get("notes")),
        )


class EvaluationFiles:
    """What is in the folder. For threads."""

    def __init__(self, store: Store) -> None:
        self._directory: Path = store.root / EVALUATIONS
        self._lock = threading.Lock()
        self._records: dict[str, tuple[tuple[int, int], EvaluationRecord | None]] = {}

    def of(self, name: str, type: str | None, version: int | None) -> list[EvaluationRecord]:
        """The records about an artifact, newest first. A record without type is about any."""
        found = [
            record
            for record in self._all()
            if record.model_name == name
            and (type is None or record.model_type in (None, type))
            and version in (None, record.model_version)
        ]
        return sorted(found, key=lambda record: (record.evaluation_date, record.id), reverse=True)

    def _all(self) -> list[EvaluationRecord]:
        with self._lock:
            found: dict[str, tuple[tuple[int, int], EvaluationRecord | None]] = {}
            try:
                with os.scandir(self._directory) as entries:
                    for entry in entries:
                        if entry.name.endswith(".json"):
                            found[entry.name] = self._read(entry)
            except OSError:
                pass
            self._records = found
            return [record for _, record in found.values() if record is not None]

    def _read(self, entry: os.DirEntry[str]) -> tuple[tuple[int, int], EvaluationRecord | None]:
        try:
            stat = entry.stat()
        except OSError:
            return (0, 0), None
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._records.get(entry.name)
        if known is not None and known[0] == stamp:
            return known
        content = read_json_object(entry.path)
        return stamp, None if content is None else EvaluationRecord.read(content)
