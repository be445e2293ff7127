"""A storage root on another machine, as users write it: `ssh://[USER@]HOST[:PORT]/PATH`.

Used in the training process, so nothing is imported that `import runicorn` does not import.
"""

from __future__ import annotations

import msgspec

from runicorn.errors import BadInput

_SCHEME = "ssh://"
_MAX_BYTES = 4096


class InvalidRemote(BadInput, ValueError):
    """Not the URL of a storage root on another machine; also a `ValueError` for SDK users.

    The text never repeats the URL: it may hold a password.
    """


class RemotePlace(msgspec.Struct, frozen=True):
    """Which machine, and which directory there."""

    host: str
    """`[USER@]NAME[:PORT]`; NAME may be an alias of `~/.ssh/config` or a saved connection."""
    path: str
    """Absolute, or below the home directory: `~/…`."""


def parse_remote(url: str) -> RemotePlace:
    """Take a URL apart; percent signs mean themselves. InvalidRemote says what is wrong with it."""
    if not url.startswith(_SCHEME):
        raise InvalidRemote("Invalid remote: ssh://[USER@]HOST[:PORT]/PATH is expected")
    if not url.isprintable() or len(url.encode("utf-8", "replace")) > _MAX_BYTES:
        raise InvalidRemote(f"Invalid remote: at most {_MAX_BYTES} bytes without control characters are expected")
    address, _, path = url.removeprefix(_SCHEME).partition("/")
    user, at, host = address.rpartition("@")
    if ":" in user:
        raise InvalidRemote(
            "Invalid remote: a password in the URL would be seen in lists of processes. Use a key or an SSH agent, or save"
            " the connection: runicorn remote add NAME USER@HOST --ask-password, then ssh://NAME/PATH"
        )
    if (at and not user) or not _is_host(host):
        raise InvalidRemote("Invalid remote: the host is missing, or its port is not between 1 and 65535")
    if not path.strip("/"):
        raise InvalidRemote("Invalid remote: the path of a storage root is missing, as in ssh://HOST/data/runicorn")
    return RemotePlace(address, path if path.startswith("~") else f"/{path}")


def _is_host(text: str) -> bool:
    if text.startswith("["):  # an IPv6 address
        name, closed, rest = text[1:].partition("]")
        return bool(name and closed) and (not rest or (rest.startswith(":") and _is_port(rest[1:])))
    name, colon, port = text.partition(":")
    return bool(name.strip()) and (not colon or _is_port(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535
