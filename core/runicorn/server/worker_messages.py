"""What a supervisor and its workers say to each other, one JSON object per line.

A worker reads orders from its standard input, after a first line with the key of this server's references, and writes
reports to another pipe.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Problem = Literal["", "root", "not_saved", "unavailable"]
"""Why the root was not switched: it cannot be used or stored, or a worker did not answer. Empty: it was switched."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker serves."""

    plugins: str


class SwitchWanted(msgspec.Struct, frozen=True, tag="switch_wanted"):
    """Somebody asked this worker for another root. The answer is an `Outcome`."""

    root: str
    remember: bool


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The order with this number was carried out, or could not be."""

    number: int
    problem: Problem = ""


class PrepareRoot(msgspec.Struct, frozen=True, tag="prepare_root"):
    """Open another root beside the current one; the answer is `Done`."""

    number: int
    root: str


class CommitRoot(msgspec.Struct, frozen=True, tag="commit_root"):
    """Serve the root that was prepared; the answer is `Done`."""

    number: int


class AbandonRoot(msgspec.Struct, frozen=True, tag="abandon_root"):
    """Close the root that was prepared; there is no answer."""


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How the switch went that this worker asked for."""

    problem: Problem


Report = Ready | SwitchWanted | Done
Order = PrepareRoot | CommitRoot | AbandonRoot | Outcome

decode_report = msgspec.json.Decoder(Report).decode
decode_order = msgspec.json.Decoder(Order).decode


def encode_line(message: Report | Order) -> bytes:
    """A message with its newline."""
    return msgspec.json.encode(message) + b"\n"
