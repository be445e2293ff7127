"""For tests of plugins: a real server in a process of its own, and waiting for what it does. Public, like `runicorn.plugin`.

The fixtures are in `runicorn.testing.fixtures`; a `conftest.py` asks for them by name, so that installing Runicorn changes
nothing about the tests of other projects:

    pytest_plugins = ["runicorn.testing.fixtures"]

`pip install 'runicorn[testing]'` brings what is used here: pytest and httpx.
"""

from __future__ import annotations

from runicorn.testing.configuration import isolated_environment
from runicorn.testing.server import Server
from runicorn.testing.waiting import wait_until

__all__ = ["Server", "isolated_environment", "wait_until"]
