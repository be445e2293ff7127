"""A receiver, and the configuration that leads to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from receiver import Receiver

pytest_plugins = ["runicorn.testing.fixtures"]

SECRET = "a secret for tests"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who receives webhooks."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def configure(runicorn_config_dir: Path, receiver: Receiver) -> Callable[..., None]:
    """Write `config.json`; keyword arguments are added to what leads to the receiver."""

    def write(**more: Any) -> None:
        notify = {
            "url": receiver.url,
            "secret": SECRET,
            "allow_networks": ["127.0.0.1/32"],
            "first_retry_s": 0.01,
            "thresholds": [{"metric": "loss", "above": 10}],
            **more,
        }
        (runicorn_config_dir / "config.json").write_text(json.dumps({"notify": notify}))

    return write
