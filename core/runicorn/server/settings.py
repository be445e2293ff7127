"""What `runicorn serve` was asked to do, in a form that is passed on to worker processes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from runicorn.host import Selection


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server. Paths are absolute."""

    root: str
    state_dir: str
    host: str = "127.0.0.1"
    port: int = 23300
    """0 takes any free port."""
    workers: int = 1
    rate_limit: bool | None = None
    """None: as `rate_limits.json` says."""
    plugins: list[str] | None = None
    without: list[str] = []
    log_level: str = "info"
    allow_hosts: list[str] = []
    allow_origins: list[str] = []
    trusted_proxies: list[str] = []
    reload: bool = False
    as_of: float | None = None
    """Unix seconds: show the store as it was then, from the read models in `models_dir`. None: it is live."""
    models_dir: str = ""

    @property
    def root_path(self) -> Path:
        """The storage root."""
        return Path(self.root)

    @property
    def state_path(self) -> Path:
        """The state directory."""
        return Path(self.state_dir)

    @property
    def selection(self) -> Selection:
        """Which plugins to load."""
        return Selection(None if self.plugins is None else frozenset(self.plugins), frozenset(self.without))
