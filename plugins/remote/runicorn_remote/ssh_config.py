"""The hosts of `~/.ssh/config`, as paramiko understands it.

`Match` is paramiko's: `Match exec` runs its command, as ssh does, with the name in it that is looked up: only names that
mean nothing to a shell are. `Include` is expanded here before (paramiko passes over
it): relative to `~/.ssh`, with `*`; the block in which it stands goes on behind it. Hosts of a file that is included inside
of a `Host` block count whether or not that block matches.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from runicorn.plugin import shown
from runicorn_remote.errors import BadHostName, ConfigUnusable

if TYPE_CHECKING:
    from paramiko.config import SSHConfig

_KEYWORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+)")
_DEEPEST = 16  # as in ssh
_NOTHING = frozenset({"", "none"})
# `Match exec` puts the name into a command of the shell, in place of `%h` and `%n`, without quotes. ssh refuses such names
# since 9.6, and those that a command would take for an option.
_HOST_NAME = re.compile(r"(?![-#])[^\s\x00-\x1f\x7f-\x9f/@$;|&<>(){}\[\]`'\"\\!*?~]{1,253}")


def checked_host_name(name: str) -> str:
    """The name, if it may be looked up in a configuration. BadHostName."""
    if _HOST_NAME.fullmatch(name) is None:
        raise BadHostName
    return name


class Host(msgspec.Struct, frozen=True):
    """How an alias is reached."""

    alias: str
    hostname: str
    user: str | None
    """None: the name of the local user."""
    port: int
    proxy_jump: str | None
    proxy_command: str | None
    identity_files: list[IdentityFile]
    key_alias: str | None
    """The name under which known_hosts has its key, if that is not its host name."""

    @property
    def address(self) -> str:
        """`hostname:port`, for people."""
        return f"[{self.hostname}]:{self.port}" if ":" in self.hostname else f"{self.hostname}:{self.port}"


class IdentityFile(msgspec.Struct, frozen=True):
    """A private key that is offered to a host."""

    path: str
    exists: bool


class HostsFile:
    """`~/.ssh/config`. A file that does not exist is an empty one."""

    def __init__(self, path: Path | None = None) -> None:
        """ConfigUnusable if it cannot be read or understood."""
        from paramiko.config import SSHConfig
        from paramiko.ssh_exception import ConfigParseError

        path = path or Path.home() / ".ssh" / "config"
        self._lines = list(_expanded(path, path.parent, "Host *")) if path.exists() else []
        try:
            self._config: SSHConfig = SSHConfig.from_text("\n".join(self._lines))
        except (ConfigParseError, ValueError) as error:
            raise ConfigUnusable(f"~/.ssh/config cannot be understood: {shown(str(error))}") from error

    def aliases(self) -> list[str]:
        """Names that `Host` lines give, without patterns and what is no name, in the order of the file."""
        found: dict[str, None] = {}
        for line in self._lines:
            keyword, value = _split(line)
            if keyword == "host":
                found.update(dict.fromkeys(name for name in _words(value) if _HOST_NAME.fullmatch(name)))
        return list(found)

    def host(self, alias: str) -> Host:
        """How `alias` is reached; a name that the file lacks is a host name with the defaults. BadHostName."""
        from paramiko.ssh_exception import CouldNotCanonicalize

        try:
            options = self._config.lookup(checked_host_name(alias))
            port = int(options.get("port", 22))
        except CouldNotCanonicalize:
            raise ConfigUnusable(
                f"{shown(alias)}: the name cannot be made canonical as ~/.ssh/config demands"
            ) from None
        except ImportError:
            raise ConfigUnusable("~/.ssh/config uses `Match exec`; that needs the Python package invoke") from None
        except (ValueError, KeyError) as error:
            raise ConfigUnusable(
                f"{shown(alias)}: its settings in ~/.ssh/config cannot be understood: {error}"
            ) from None
        if not 0 < port < 1 << 16:
            raise ConfigUnusable(f"{shown(alias)}: Port in ~/.ssh/config must be between 1 and 65535")
        identities = cast(list[str], options.get("identityfile", []))
        paths = [os.path.expanduser(path) for path in identities if path.lower() not in _NOTHING]
        return Host(
            alias=alias,
            hostname=options["hostname"],
            user=options.get("user"),
            port=port,
            proxy_jump=_given(options.get("proxyjump")),
            proxy_command=_given(options.get("proxycommand")),
            identity_files=[IdentityFile(path, os.path.isfile(path)) for path in paths],
            key_alias=options.get("hostkeyalias"),
        )


def _expanded(path: Path, base: Path, block: str, depth: int = 0) -> Iterator[str]:
    """The lines of a configuration file, which begins inside of `block`, and of those that it includes."""
    if depth > _DEEPEST:
        raise ConfigUnusable("~/.ssh/config includes files that include each other")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ConfigUnusable(f"{path.name} of the SSH configuration cannot be read: {error.strerror}") from error
    for line in lines:
        keyword, value = _split(line)
        if keyword in ("host", "match"):
            block = line
        if keyword != "include":
            yield line
            continue
        for pattern in _words(value):
            for included in sorted(glob.glob(os.path.join(base, os.path.expanduser(pattern)))):
                yield from _expanded(Path(included), base, block, depth + 1)
                yield block


def _split(line: str) -> tuple[str, str]:
    """The keyword of a line in lower case, and the rest; empty for blank lines and comments."""
    match = _KEYWORD.match(line)
    return (match[1].lower(), match[2].strip()) if match is not None else ("", "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ConfigUnusable(f"~/.ssh/config cannot be understood: {shown(text)}") from None


def _given(value: str | None) -> str | None:
    return None if value is None or value.lower() in _NOTHING else value
