"""Which images a run has logged.

| table       | kind  | content                                                            |
|-------------|-------|--------------------------------------------------------------------|
| `run_image` | owned | one row per `image` event, by run stream and offset in it          |
"""

from __future__ import annotations

from runicorn.plugin import Batch, ImageLogged, StreamKind, Tables, integer


class RunImages:
    """See the module's docstring."""

    name = "run_images"
    version = 1
    streams = frozenset[StreamKind]({"run"})
    schema = """
        CREATE TABLE run_image(
            stream_id INTEGER NOT NULL, offset INTEGER NOT NULL,
            ts REAL, key TEXT NOT NULL, path TEXT NOT NULL, step INTEGER, caption TEXT,
            PRIMARY KEY(stream_id, offset)) WITHOUT ROWID;
    """

    def apply(self, batch: Batch, tables: Tables) -> None:
        """Add the images of a batch."""
        images = list(batch.payloads(ImageLogged))
        if not images:
            return  # most batches have none, and offsets cost time
        offsets = {id(event): offset for event, offset in zip(batch.events, batch.offsets, strict=True)}
        tables.executemany(
            "INSERT INTO run_image(stream_id, offset, ts, key, path, step, caption) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    batch.stream_id,
                    offsets[id(event)],
                    event.ts,
                    image.key,
                    image.path,
                    integer(image.step),
                    image.caption,
                )
                for event, image in images
            ),
        )

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the images of a stream."""
        tables.execute("DELETE FROM run_image WHERE stream_id = ?", (stream_id,))
