"""What somebody logs in with. Kept in memory only; no `repr`, log line or error shows any of it."""

from __future__ import annotations

from typing import Any

import msgspec


class Credentials(msgspec.Struct, kw_only=True):
    """The secrets and choices of one login. `wipe` when they are not needed any more."""

    password: str | None = None
    private_key: str | None = None
    """Text of a private key."""
    private_key_path: str | None = None
    """A key file on this machine; used where there is no `private_key`."""
    passphrase: str | None = None
    """For either key."""
    use_agent: bool = True
    """Whether the SSH agent and the default keys in `~/.ssh` are tried."""
    identity_files: list[str] = []
    """Key files that `~/.ssh/config` names for the host; tried with the default keys."""

    def wipe(self) -> None:
        """Forget everything."""
        self.password = self.private_key = self.private_key_path = self.passphrase = None
        self.use_agent = False

    def __repr__(self) -> str:
        return "Credentials(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
