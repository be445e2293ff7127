"""Events → tables: the best value of every run."""

from __future__ import annotations

from collections.abc import Sequence

from runicorn.plugin import (
    Batch,
    Claim,
    FoldedProjection,
    Part,
    Parts,
    RunCreated,
    RunSummarized,
    StreamKind,
    Tables,
    claim,
    latest,
)


class Standing(Part):
    """What one stream says about one run."""

    project: Claim[str] | None = None
    best: Claim[float] | None = None


class Leaderboard(FoldedProjection[Standing]):
    """The table `standing`: one row per run with a best value. The counter `standings` moves when any of them changes."""

    name = "leaderboard"
    version = 1
    streams = frozenset[StreamKind]({"run"})
    part_type = Standing
    tables_schema = """
        CREATE TABLE standing(run TEXT PRIMARY KEY, project TEXT NOT NULL, best REAL NOT NULL) WITHOUT ROWID;
        CREATE INDEX standing_order ON standing(project, best DESC);
    """

    def fold(self, parts: Parts[Standing], batch: Batch) -> None:
        for event, payload in batch.payloads(RunCreated, RunSummarized):
            part = parts[batch.stream.name]
            if isinstance(payload, RunCreated):
                part.project = claim(event.ts, payload.project, part.project)
            else:
                best = payload.update.get("best_metric_value")
                if isinstance(best, int | float):
                    part.best = claim(event.ts, float(best), part.best)

    def merge(self, entity: str, parts: Sequence[tuple[str, Standing]], tables: Tables) -> None:
        project = latest((stream, part.project) for stream, part in parts)
        best = latest((stream, part.best) for stream, part in parts)
        tables.execute("DELETE FROM standing WHERE run = ?", (entity,))
        if project is not None and best is not None:
            tables.execute("INSERT INTO standing VALUES (?, ?, ?)", (entity, project.value, best.value))
        tables.touch("standings")
