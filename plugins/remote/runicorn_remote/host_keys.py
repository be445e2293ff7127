"""Whom to trust: the policy for host keys of every connection.

Own keys are in `known_hosts` of the user's configuration directory; `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts` are
only read. An unknown host is trusted on first use, and stored before any credential is sent, unless checking is strict.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runicorn.plugin import LockTimeout, config_file, file_lock, read_json_object, replace_file
from runicorn_remote.errors import HostKey, HostKeyMismatch, HostKeyUnknown, KnownHostsUnusable
from runicorn_remote.known_hosts import KnownKeys, Verdict, holds_entries, known_keys, name_in_known_hosts, without_host

if TYPE_CHECKING:
    from paramiko.pkey import PKey

SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")
_LOCK_S = 5.0
_TRUE = frozenset({"1", "true", "yes", "on"})


class HostKeyPolicy(msgspec.Struct, frozen=True):
    """How one connection judges the key that the server shows."""

    strict: bool = False
    """Refuse hosts that nobody has seen."""
    accepted: str | None = None
    """The only fingerprint (`SHA256:…`) to connect to; stored in place of an own entry."""

    @classmethod
    def configured(cls, *, strict: bool | None = None, accepted: str | None = None) -> HostKeyPolicy:
        """The user's setting, which a request can tighten and never relax."""
        content = read_json_object(config_file())
        # A file that says something, and cannot be understood, may say this.
        setting = config_file().exists() if content is None else content.get("ssh_strict_host_keys") is True
        environment = os.environ.get("RUNICORN_SSH_STRICT", "").strip().lower() in _TRUE
        return cls(strict=bool(strict) or setting or environment, accepted=accepted or None)


def shown_key(key: PKey) -> HostKey:
    """A key as people compare it."""
    return HostKey(key.get_name(), key.fingerprint)


class HostKeys:
    """The keys that are known of one host, over all files."""

    def __init__(self, hostname: str, port: int, *, shown_as: str | None = None) -> None:
        """KnownHostsUnusable if the own file cannot be read, or holds lines and none of them parses."""
        self._hostname, self._port = hostname, port
        self._shown_as = shown_as or hostname
        self._own = own_file()
        try:
            text = self._own.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise KnownHostsUnusable from error
        if text.strip() and not holds_entries(text):
            raise KnownHostsUnusable
        self._own_keys = known_keys(hostname, port, self._own)
        self._system_keys = [known_keys(hostname, port, path) for path in (_user_file(), SYSTEM_FILE)]

    @property
    def known(self) -> KnownKeys:
        """The keys of all files."""
        files = [self._own_keys, *self._system_keys]
        return KnownKeys(
            [key for file in files for key in file.trusted], [key for file in files for key in file.revoked]
        )

    def check(self, address: str, key: PKey, policy: HostKeyPolicy) -> bool:
        """Accept or refuse the key of a server, and store what is new; whether it is the first use.

        HostKeyMismatch, HostKeyUnknown or KnownHostsUnusable: then no credential must be sent.
        """
        known, shown = self.known, shown_key(key)
        if policy.accepted is not None:
            return self._check_accepted(address, key, policy.accepted)
        verdict = known.judge(key)
        if verdict == "known":
            return False
        if verdict == "unknown":
            if policy.strict:
                raise HostKeyUnknown(address, self._shown_as, shown)
            verdict, known = self._store(key)
            if verdict == "unknown":
                return True
            if verdict == "known":  # another connection was quicker
                return False
        expected = next((shown_key(trusted) for trusted in known.trusted), None)
        raise HostKeyMismatch(address, self._shown_as, shown, expected)

    def _check_accepted(self, address: str, key: PKey, accepted: str) -> bool:
        shown = shown_key(key)
        if shown.sha256 != accepted:
            raise HostKeyMismatch(address, self._shown_as, shown, HostKey("", accepted))
        for system in self._system_keys:  # the user's own answer does not overrule what ssh itself would refuse
            if system.judge(key) in ("mismatch", "revoked"):
                expected = next((shown_key(trusted) for trusted in system.trusted), None)
                raise HostKeyMismatch(address, self._shown_as, shown, expected)
        if self.known.judge(key) == "revoked":
            raise HostKeyMismatch(address, self._shown_as, shown, None)
        if self._own_keys.judge(key) == "known":
            return False
        self._store(key, replaces=True)
        return True

    def _store(self, key: PKey, *, replaces: bool = False) -> tuple[Verdict, KnownKeys]:
        """Add a line to the own file, under its lock, unless it has got one meanwhile: what it says about the key before.

        With `replaces` the line takes the place of what it says about the host.
        """
        line = f"{name_in_known_hosts(self._hostname, self._port)} {key.get_name()} {key.get_base64()}\n"
        try:
            self._own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with file_lock(f"{self._own}.lock", timeout_s=_LOCK_S):
                own = known_keys(self._hostname, self._port, self._own)
                verdict = own.judge(key)
                if verdict != "unknown" and not replaces:
                    return verdict, own
                before = self._own.read_text(encoding="utf-8", errors="surrogateescape") if self._own.exists() else ""
                if replaces:
                    before = without_host(before, self._hostname, self._port)
                if before and not before.endswith("\n"):
                    before += "\n"
                replace_file(self._own, (before + line).encode("utf-8", "surrogateescape"), fsync=True, mode=0o600)
                return verdict, own
        except (OSError, LockTimeout) as error:
            raise KnownHostsUnusable from error


def own_file() -> Path:
    """`known_hosts` beside `config.json`."""
    return config_file().with_name("known_hosts")


def _user_file() -> Path:
    return Path.home() / ".ssh" / "known_hosts"
