"""What a model has learned, as a PNG: its decision regions with the validation points on top."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from runicorn.demo.models import Model
from runicorn.demo.spirals import Split

_COLOURS = np.array([[230, 97, 1], [94, 60, 153], [26, 150, 65]], dtype=np.float64)


def decision_regions(model: Model, data: Split, size: int = 160) -> bytes:
    """A PNG of `size` × `size` pixels over the square from -1.2 to 1.2."""
    axis = np.linspace(-1.2, 1.2, size)
    grid = np.stack(np.meshgrid(axis, -axis), axis=-1).reshape(-1, 2)
    pixels = 0.55 * 255 + 0.45 * _COLOURS[model.logits(grid).argmax(axis=1)]
    image = pixels.reshape(size, size, 3)
    column = np.clip(((data.points[:, 0] + 1.2) / 2.4 * size).astype(int), 1, size - 2)
    row = np.clip(((1.2 - data.points[:, 1]) / 2.4 * size).astype(int), 1, size - 2)
    for down in (0, 1):
        for right in (0, 1):
            image[row + down, column + right] = _COLOURS[data.labels]
    return png(image.astype(np.uint8))


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of an RGB image of shape (height, width, 3). ISO/IEC 15948: one IDAT chunk, no filters."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + image[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
