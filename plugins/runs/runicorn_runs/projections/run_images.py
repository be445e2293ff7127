"""Which images a run has logged.

| table       | kind  | content                                                            |
|-------------|-------|--------------------------------------------------------------------|
| `run_image` | owned | one row per `image` event, by run stream and offset in it          |
"""

from __future__ import annotations

from typing import TypeAlias, cast

from runicorn.plugin import Batch, ImageLogged, Stream, StreamKind, Tables, integer

Image: TypeAlias = tuple[int, float, str, str, int | None, str | None]
"""A row of `run_image` behind its stream."""


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
        _insert(_images(batch), batch.stream_id, tables)

    def preparation(self, stream: Stream) -> ImagesPreparation:
        """See `runicorn.plugin.PreparesStreams`."""
        return ImagesPreparation()

    def apply_prepared(self, stream: Stream, stream_id: int, prepared: object, tables: Tables) -> None:
        """Add the images that were found."""
        _insert(cast("list[Image]", prepared), stream_id, tables)

    def forget(self, stream_id: int, tables: Tables) -> None:
        """Delete the images of a stream."""
        tables.execute("DELETE FROM run_image WHERE stream_id = ?", (stream_id,))


class ImagesPreparation:
    """The images of one stream."""

    def __init__(self) -> None:
        self._found: list[Image] = []

    def add(self, batch: Batch) -> None:
        """Find the images of a batch."""
        self._found += _images(batch)

    def take(self, *, is_end: bool) -> list[Image] | None:
        """Those that were found since; None if there are none, as in most batches."""
        found, self._found = self._found, []
        return found or None


def _images(batch: Batch) -> list[Image]:
    images = list(batch.payloads(ImageLogged))
    if not images:
        return []  # offsets cost time
    offsets = {id(event): offset for event, offset in zip(batch.events, batch.offsets, strict=True)}
    return [
        (offsets[id(event)], event.ts, image.key, image.path, integer(image.step), image.caption)
        for event, image in images
    ]


def _insert(images: list[Image], stream_id: int, tables: Tables) -> None:
    if images:
        tables.executemany(
            "INSERT INTO run_image(stream_id, offset, ts, key, path, step, caption) VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((stream_id, *image) for image in images),
        )
