"""The public API for plugins. What is exported here is documented and deprecated with notice; nothing else is public."""

from __future__ import annotations

from runicorn.errors import (
    BadInput,
    Conflict,
    Forbidden,
    InvalidName,
    NotFound,
    RunicornError,
    RunNotFound,
    StorageUnavailable,
    TooLarge,
    Unavailable,
)
from runicorn.events.discovery import RunDirectory
from runicorn.events.envelope import Event, Payload, decode_data, decode_payload
from runicorn.events.log import Stream
from runicorn.events.run import METRICS, ImageLogged, RunCreated, RunFinished, RunSummarized
from runicorn.events.source import Source
from runicorn.hookspecs import hookimpl
from runicorn.projection.base import Batch, Projection, Tables
from runicorn.projection.folded import Claim, FoldedProjection, Part, Parts, claim, latest
from runicorn.projection.reactions import CommittedEvent
from runicorn.server.health import Health
from runicorn.store import Store

__all__ = [
    "METRICS",
    "BadInput",
    "Batch",
    "Claim",
    "CommittedEvent",
    "Conflict",
    "Event",
    "FoldedProjection",
    "Forbidden",
    "Health",
    "ImageLogged",
    "InvalidName",
    "NotFound",
    "Part",
    "Parts",
    "Payload",
    "Projection",
    "RunCreated",
    "RunDirectory",
    "RunFinished",
    "RunNotFound",
    "RunSummarized",
    "RunicornError",
    "Source",
    "StorageUnavailable",
    "Store",
    "Stream",
    "Tables",
    "TooLarge",
    "Unavailable",
    "claim",
    "decode_data",
    "decode_payload",
    "hookimpl",
    "latest",
]
