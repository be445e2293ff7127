"""An environment in which nothing of the user's own configuration is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def isolated_environment(directory: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` with the user's configuration in `directory`, without the variables that configure Runicorn.

    Where the configuration file is then, `runicorn.plugin.config_file()` says in a process with this environment.
    """
    isolated = {name: value for name, value in environment.items() if not name.startswith("RUNICORN_")}
    isolated["XDG_CONFIG_HOME"] = str(directory)
    isolated["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"  # nor the user's keyring
    if sys.platform == "darwin":
        isolated["HOME"] = str(directory)
    return isolated
