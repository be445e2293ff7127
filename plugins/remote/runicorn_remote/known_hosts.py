"""What a `known_hosts` file says about a host's key; a line that does not parse is passed over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from paramiko.hostkeys import HostKeyEntry
    from paramiko.pkey import PKey

Verdict = Literal["known", "unknown", "mismatch", "revoked"]

_REVOKED = "@revoked"
_IGNORED = ("#", "@cert-authority")


class KnownKeys(msgspec.Struct, frozen=True):
    """The keys of one host."""

    trusted: list[PKey]
    revoked: list[PKey]

    @property
    def key_types(self) -> list[str]:
        """Types of the trusted keys, in the order of the file."""
        return list(dict.fromkeys(key.get_name() for key in self.trusted))

    def judge(self, key: PKey) -> Verdict:
        """Whether the host may show this key."""
        if _holds(self.revoked, key):
            return "revoked"
        if _holds(self.trusted, key):
            return "known"
        return "mismatch" if self.trusted else "unknown"


def known_keys(hostname: str, port: int, path: Path | None = None) -> KnownKeys:
    """The keys that are known of a host: entries `host`, `[host]:port` for other ports than 22, plain or hashed."""
    name = name_in_known_hosts(hostname, port)
    path = path or Path.home() / ".ssh" / "known_hosts"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    keys = KnownKeys([], [])
    for line in lines:
        fields = line.split()
        if not fields or fields[0].startswith(_IGNORED):
            continue
        is_revoked = fields[0] == _REVOKED
        entry = _parse(fields[1:] if is_revoked else fields)
        if entry is not None and _is_about(entry, name):
            (keys.revoked if is_revoked else keys.trusted).append(entry.key)
    return keys


def name_in_known_hosts(hostname: str, port: int) -> str:
    """How entries call a host; in lower case, as it was when it was hashed."""
    return hostname.lower() if port == 22 else f"[{hostname.lower()}]:{port}"


def holds_entries(text: str) -> bool:
    """Whether a file has at least one line that parses, or nothing but comments."""
    lines = [fields for line in text.splitlines() if (fields := line.split()) and not fields[0].startswith("#")]
    return not lines or any(_parse(fields[1:] if fields[0].startswith("@") else fields) for fields in lines)


def without_host(text: str, hostname: str, port: int) -> str:
    """The content of a file without the trusted keys of a host; every other line stays, to the byte.

    A line that names several hosts keeps the others.
    """
    name = name_in_known_hosts(hostname, port)
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        fields = line.split()
        entry = None if not fields or fields[0].startswith(("#", "@")) else _parse(fields)
        if entry is None or not _is_about(entry, name):
            kept.append(line)
            continue
        others = [pattern for pattern in entry.hostnames or () if not _names_exactly(pattern, name)]
        if others and not any(_matches(pattern, name) for pattern in others):
            kept.append(" ".join([",".join(others), *fields[1:]]) + "\n")
    return "".join(kept)


def _names_exactly(pattern: str, name: str) -> bool:
    return _is_hash_of(pattern, name) if pattern.startswith("|") else pattern.lower() == name


def _parse(fields: list[str]) -> HostKeyEntry | None:
    from paramiko.hostkeys import HostKeyEntry

    try:
        return HostKeyEntry.from_line(" ".join(fields[:3]))
    except Exception:  # from_line leaks what the parsers of each key type raise
        return None


def _is_about(entry: HostKeyEntry, name: str) -> bool:
    is_matched = False
    for pattern in entry.hostnames or ():
        if pattern.startswith("!"):
            if _matches(pattern[1:], name):
                return False
        elif _is_hash_of(pattern, name) if pattern.startswith("|") else _matches(pattern, name):
            is_matched = True
    return is_matched


def _matches(pattern: str, name: str) -> bool:
    """`*` and `?` are wildcards; brackets are not, they belong to `[host]:port`."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name, re.IGNORECASE) is not None


def _is_hash_of(pattern: str, name: str) -> bool:
    from paramiko.hostkeys import HostKeys

    try:
        return HostKeys.hash_host(name, pattern) == pattern
    except (ValueError, AssertionError, IndexError):  # a salt that is none
        return False


def _holds(keys: list[PKey], wanted: PKey) -> bool:
    return any(key.asbytes() == wanted.asbytes() for key in keys)
