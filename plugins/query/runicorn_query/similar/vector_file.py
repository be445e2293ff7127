"""The vectors of all runs on disk: a SQLite file of its own in the state directory, read by sqlite-vec.

| table     | content                                                                                            |
|-----------|----------------------------------------------------------------------------------------------------|
| `run`     | by key: what its vector was made of (events, digest of the settings), and the numbers of its curves |
| `vectors` | the vector, curves then configuration, and whether the run is listed (not in the recycle bin)      |

The schema's version is part of the file's name; the file may be deleted at any time.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import numpy as np
import sqlite_vec

from runicorn_query.index_database import IndexDatabase
from runicorn_query.similar.features import DIMENSIONS, Vector

MOST = 4096
"""Neighbours that sqlite-vec gives at most."""

_MOST_CURVES = 64  # kept for saying which are alike; the vector is made of all

_SCHEMA = f"""
CREATE TABLE run(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, events INTEGER NOT NULL, digest BLOB NOT NULL,
    listed INTEGER NOT NULL, curves BLOB NOT NULL);
CREATE VIRTUAL TABLE vectors USING vec0(vector float[{2 * DIMENSIONS}], listed integer);
"""


def _load_vec(connection: apsw.Connection) -> None:
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)


_DATABASE = IndexDatabase("query-similar-", 1, _SCHEMA, table="vectors", cache_kib=4000, prepare=_load_vec)


def vectors_path(state_dir: Path) -> Path:
    """Where the vectors of a state directory are."""
    return _DATABASE.path(state_dir)


def open_to_write(state_dir: Path) -> apsw.Connection:
    """The vectors, for their only writer."""
    return _DATABASE.open_to_write(state_dir)


def open_to_read(state_dir: Path) -> apsw.Connection | None:
    """The vectors for queries; None if there are none."""
    return _DATABASE.open_to_read(state_dir)


def encode_curves(features: dict[str, Vector]) -> bytes:
    """The numbers of up to 64 curves, in half precision."""
    kept = {name: features[name].astype(np.float16).tobytes() for name in sorted(features)[:_MOST_CURVES]}
    return msgspec.msgpack.encode(kept)


def decode_curves(data: bytes) -> dict[str, Vector]:
    """What `encode_curves` has kept."""
    kept = msgspec.msgpack.decode(data, type=dict[str, bytes])
    return {name: np.frombuffer(numbers, np.float16).astype(np.float64) for name, numbers in kept.items()}
