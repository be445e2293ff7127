"""The contract's answers about runs, read off the files of a store: `json.loads`, dicts, loops. Slow, and obviously right.

Shares nothing with the product. It is for stores whose side files are sound; damaged ones have tests of their own.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

from tests import reference_metrics

Answer = dict[str, Any]


class Reference:
    """The store at `root` as it is now."""

    def __init__(self, root: Path) -> None:
        self.root = root
        directories = [path for pattern in ("*/*/runs/*", "runs/*") for path in root.glob(pattern) if path.is_dir()]
        self.runs = sorted((path for path in directories if not _is_hidden(root, path)), key=self._order)
        self.listed = [path for path in self.runs if not (path / ".deleted").exists()]

    def answers(self) -> dict[str, Any]:
        """Every answer by path: of the whole store, and of each listed run."""
        found: dict[str, Any] = {
            "/api/runs": [self.item(path) for path in self.listed],
            "/api/projects": {"projects": sorted({self.names(path)[0] for path in self.listed})},
            "/api/experiments/search": {"experiments": self.searched()},
            "/api/recycle-bin": {"deleted_runs": [self.deleted(path) for path in self.runs if path not in self.listed]},
        }
        for project, name in {self.names(path) for path in self.listed}:
            names = {other for its, other in map(self.names, self.listed) if its == project}
            found[f"/api/projects/{project}/names"] = {"names": sorted(names)}
            found[f"/api/projects/{project}/names/{name}/runs"] = [
                self.item(path) for path in self.listed if self.names(path) == (project, name)
            ]
        for path in self.listed:
            found[f"/api/runs/{path.name}"] = self.detail(path)
            found[f"/api/runs/{path.name}/metrics"] = reference_metrics.metrics(path / "events.jsonl")
            found[f"/api/runs/{path.name}/metrics_step"] = reference_metrics.metrics_step(path / "events.jsonl")
            found[f"/api/runs/{path.name}/progress"] = {"available": False, "status": "unknown"}
            found[f"/api/environment/{path.name}"] = self.environment(path)
        return found

    def item(self, path: Path) -> Answer:
        meta, status, summary = (load(path / f"{name}.json") for name in ("meta", "status", "summary"))
        project, name = self.names(path)
        return {
            "id": path.name,
            "run_dir": str(path),
            "created_time": meta.get("created_at", path.stat().st_mtime),
            "status": status.get("status") or "finished",
            "pid": meta.get("pid"),
            "best_metric_value": _finite(summary.get("best_metric_value")),
            "best_metric_name": summary.get("best_metric_name"),
            "project": project,
            "name": name,
            "artifacts_created_count": len(load(path / "artifacts_created.json").get("artifacts", [])),
            "artifacts_used_count": len(load(path / "artifacts_used.json").get("artifacts", [])),
        }

    def detail(self, path: Path) -> Answer:
        item = self.item(path)
        kept = ("id", "status", "pid", "run_dir", "project", "name", "artifacts_created_count", "artifacts_used_count")
        files = {"logs": f"{path}/logs.txt", "metrics": f"{path}/events.jsonl", "metrics_step": f"{path}/events.jsonl"}
        return {**{key: item[key] for key in kept}, **files}

    def searched(self) -> list[Answer]:
        """What a search without conditions finds, where nobody has said anything about a run."""
        unsaid = {"tags": [], "description": None, "archived": False, "pinned": False}
        found = [
            {
                **{key: self.item(path)[key] for key in ("id", "project", "name")},
                "created_at": self.item(path)["created_time"],
                "updated_at": self.last_active(path),
                **unsaid,
            }
            for path in self.listed
        ]
        return sorted(found, key=lambda run: (run["updated_at"], run["id"]), reverse=True)

    def last_active(self, path: Path) -> float:
        """When something happened in the run for the last time."""
        status, events = load(path / "status.json"), path / "events.jsonl"
        lines = events.read_text("utf-8").splitlines() if events.exists() else []
        times = [status.get("started_at"), status.get("ended_at"), *(json.loads(line)["ts"] for line in lines)]
        return max(self.item(path)["created_time"], *(ts for ts in times if ts is not None))

    def deleted(self, path: Path) -> Answer:
        item, marker = self.item(path), load(path / ".deleted")
        return {
            **{key: item[key] for key in ("id", "project", "name", "created_time", "run_dir")},
            "deleted_at": marker["deleted_at"],
            "delete_reason": marker["reason"],
            "original_status": marker["original_status"],
        }

    def environment(self, path: Path) -> Answer:
        if not (path / "environment.json").exists():
            return {"available": False}
        content = load(path / "environment.json")
        git = content.get("git_info") or {}
        if git.get("remote"):
            git["remote"] = re.sub(r"//[^/@]*@", "//", git["remote"])
        return {"available": True, "environment": content}

    def csv_rows(self, path: Path) -> list[list[str]]:
        """Header and rows of the CSV export, without its comment lines."""
        events = [data for _, data in reference_metrics.metric_events(path / "events.jsonl")]
        keys = {key for data in events for key in data}
        first = [key for key in ("global_step", "step", "time", "stage") if key in keys]
        columns = [*first, *sorted(keys.difference(first))]
        return [columns, *([_cell(data.get(key)) for key in columns] for data in events)]

    def names(self, path: Path) -> tuple[str, str]:
        meta = load(path / "meta.json")
        is_legacy = path.parent.parent == self.root
        project = meta.get("project") or (None if is_legacy else path.parts[-4])
        name = meta.get("name") or (None if is_legacy else path.parts[-3])
        return project, name

    def _order(self, path: Path) -> tuple[Any, ...]:
        project, name = (part or "" for part in self.names(path))
        created = load(path / "meta.json").get("created_at", path.stat().st_mtime)
        descending = (*(-ord(character) for character in path.name), 1)  # a longer id comes first
        return path.parent.parent == self.root, project.casefold(), name.casefold(), -created, descending


def csv_table(text: str) -> list[list[str]]:
    """A CSV export without its comment lines."""
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# ") and line != "#\n")
    return list(csv.reader(io.StringIO(kept, newline="")))


def load(path: Path) -> Answer:
    """A JSON file; `{}` if there is none."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _is_hidden(root: Path, path: Path) -> bool:
    top = path.relative_to(root).parts[0]
    return top.startswith(".runicorn") or (top in ("artifacts",) and not (path / "meta.json").exists())


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return str(value)
