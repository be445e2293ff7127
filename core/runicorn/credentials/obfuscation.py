"""What 0.4.0 stored in place of a secret: `ENC:` and base64 of the text XOR the bytes of `.credential_key`, or plain text.

It is only read. Whoever reads `.credential_key` can read it, too: no secret is written in this form any more.
"""

from __future__ import annotations

import base64
from itertools import cycle
from pathlib import Path

from runicorn.files import open_to_read

_PREFIX = "ENC:"
_KEY_BYTES = 32


def reveal(stored: str, directory: Path) -> str | None:
    """The text that 0.4.0 stored; None if it cannot be decoded. OSError if its key is there, but cannot be read."""
    if not stored.startswith(_PREFIX):
        return stored
    try:
        with open_to_read(directory / ".credential_key") as file:
            key = file.read(_KEY_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(key) != _KEY_BYTES:
        return None
    try:
        hidden = base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
        return bytes(a ^ b for a, b in zip(hidden, cycle(key), strict=False)).decode()
    except ValueError:
        return None
