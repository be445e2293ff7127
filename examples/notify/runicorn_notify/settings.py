"""What the user wants to be told, and where: the object `notify` in the user's `config.json`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from runicorn.plugin import BadInput, config_file, read_config

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ending = Literal["run.finished", "run.failed"]


class InvalidSettings(BadInput):
    """The object `notify` in `config.json` cannot be understood. The text has no secret in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"notify in config.json: {reason}")


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that is greater than `above` or less than `below`."""

    metric: str
    above: float | None = None
    below: float | None = None

    def is_crossed_by(self, value: float) -> bool:
        """Whether a value is on the other side. NaN is on none."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the plugin."""

    url: str
    secret: Annotated[str, msgspec.Meta(min_length=16)]
    """Signs what is sent, so that the receiver knows who sends."""
    events: list[Ending] = msgspec.field(default_factory=lambda: ["run.finished", "run.failed"])
    thresholds: list[Threshold] = []
    allow_networks: list[str] = []
    """Networks that are not public and may be sent to all the same, such as `10.1.0.0/16` or `127.0.0.1/32`."""
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 4
    """How often a notification is sent before the server is asked to come again with it, later and later."""
    first_retry_s: Annotated[float, msgspec.Meta(ge=0.01, le=10)] = 0.5
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=30)] = 10.0
    """For one attempt, from the first packet to the last."""

    @classmethod
    def load(cls) -> Settings | None:
        """The settings as they are now; None if there are none. InvalidSettings."""
        value = read_config(config_file()).get("notify")
        if value is None:
            return None
        try:
            settings = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise InvalidSettings(str(error)) from None
        settings.check()
        return settings

    def check(self) -> None:
        """InvalidSettings for what the types do not say."""
        try:
            url = urlsplit(self.url)
            is_usable = url.scheme in ("http", "https") and url.hostname and url.port != 0 and url.username is None
        except ValueError:
            is_usable = False
        if not is_usable or not self.url.isascii() or any(character <= " " for character in self.url):
            raise InvalidSettings("url must be http:// or https://, with a host and without user or password")
        if any((threshold.above is None) == (threshold.below is None) for threshold in self.thresholds):
            raise InvalidSettings("a threshold has either `above` or `below`")
        _ = self.networks

    @property
    def networks(self) -> list[Network]:
        """`allow_networks`, understood."""
        try:
            return [ipaddress.ip_network(text) for text in self.allow_networks]
        except ValueError:
            raise InvalidSettings("allow_networks has networks such as 10.1.0.0/16") from None
