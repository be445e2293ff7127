"""What projector and API workers say to each other over a Unix stream socket: one JSON object per line.

A worker sends `Request`s and gets one `Reply` for each; after every commit all workers get a `Committed` notice. The first
one comes at once: it tells a worker that connects where things stand, and to open the newest files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from runicorn.files import read_json_object, replace_file

PROJECTOR_LOCK = "projector.lock"
"""File in the state directory; whoever holds its lock is the only one that writes read models."""

_ADDRESS = "projector.json"
_MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


class Request(msgspec.Struct, frozen=True, tag="request"):
    """Ask the projector to do something.

    `apply`: bring one stream level. `look`: take over what the files of the run or artifact with the key `stream` say.
    `discover`: look for new runs and artifacts. `status`: tell how it is doing. `reopen`: move to the newest files of the
    read models; the reply comes when readers have been told to.
    """

    id: int
    op: Literal["apply", "look", "discover", "status", "reopen"]
    stream: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the projector is doing. `behind_streams` are known to have grown, the first of them `lag_s` seconds ago.

    `behind_bytes` and `behind_events` are what they hold beyond the checkpoints; events are estimated where it is much.
    """

    pid: int
    state: Literal["building", "live"]
    streams: int
    behind_streams: int = 0
    behind_bytes: int = 0
    behind_events: int = 0
    lag_s: float = 0.0
    progress: float = 1.0
    """While `building`: the share of the log that is applied."""
    unobserved_runs: int = 0
    """Run directories that are to be looked at."""
    watching: Literal["inotify", "polling"] = "inotify"
    failed: dict[str, str] = {}
    """Plugins whose read model stopped, with the reason."""
    slow: dict[str, str] = {}
    """Plugins that hold up the others, with how long that was."""
    plugins: list[str] = []
    """Those that are loaded."""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """The answer to the request with this id; `ok` is false if it could not be done."""

    id: int
    ok: bool = True
    error: str | None = None
    status: Status | None = None


Range = tuple[str, int, int]
"""Part of a stream: its name, from and to which offset."""


class News(msgspec.Struct, frozen=True):
    """What commit `number` of an epoch added to what readers see: parts of the log that no commit before it had."""

    epoch: str
    number: int
    ranges: list[Range] = []
    after_gap: bool = False
    """Whether commits before it may be missing."""


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Something was committed: which streams were applied, from and to which offset, and which counters moved."""

    commit: int
    streams: list[Range] = []
    counters: dict[str, dict[str, int]] = {}
    """By plugin."""
    moved: bool = False
    """True when a plugin's readers have to open a newer file."""
    news: News | None = None
    """Where the journal of commits stands, and what this commit added; None if it added nothing."""


Message = Request | Reply | Committed

encode_message = msgspec.json.Encoder().encode
decode_message = msgspec.json.Decoder(Message).decode


def socket_path(state_dir: Path) -> Path:
    """Where the projector of a state directory listens; a short path elsewhere if the natural one is too long."""
    path = state_dir / "projector.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="runicorn-")) / "projector.sock"


def publish_address(state_dir: Path, path: Path) -> None:
    """Tell workers and the command line where the projector listens."""
    replace_file(state_dir / _ADDRESS, msgspec.json.encode({"socket": os.fspath(path), "pid": os.getpid()}))


def published_address(state_dir: Path) -> str | None:
    """The socket of the projector that published last; it may be gone."""
    value = (read_json_object(state_dir / _ADDRESS) or {}).get("socket")
    return value if isinstance(value, str) else None
