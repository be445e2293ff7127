"""The vectors of runs as a worker has them: read by requests, kept level by a process beside the server."""

from __future__ import annotations

import apsw

from runicorn.plugin import Store
from runicorn_query.reader import SideFileReader
from runicorn_query.similar.nearest import SimilarRuns, nearest
from runicorn_query.similar.vector_file import open_to_read, vectors_path


class Vectors:
    """The vectors of the runs of a store; `store.own(Vectors)`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = SideFileReader(vectors_path(store.state_dir), lambda: open_to_read(store.state_dir))

    async def nearest(self, key: str, k: int, metric_weight: float) -> SimilarRuns:
        """The runs that are most like the run `key`, worked out in a thread."""
        return await self._store.model("runs").run(self._nearest, key, k, metric_weight)

    async def close(self) -> None:
        """Close the connections."""
        self._reader.close()

    def _nearest(self, runs: apsw.Connection, key: str, k: int, metric_weight: float) -> SimilarRuns:
        with self._reader.connection() as vectors:
            return nearest(runs, vectors, self._store.log, key, k, metric_weight)
