"""What a run ran on: the content of its `environment.json`, without credentials.

The SDK leaves them out when it writes the file; 0.4.0 did not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from runicorn.plugin import ENVIRONMENT_FILE, open_below, parse_json, without_credentials


def stored_environment(directory: Path) -> dict[str, Any] | None:
    """The environment of the run in `directory`; None if none is stored, empty if it cannot be read."""
    try:
        with open_below(directory, [ENVIRONMENT_FILE]) as file:
            content = parse_json(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return _without_secrets(cast(dict[str, Any], content)) if isinstance(content, dict) else {}


def _without_secrets(environment: dict[str, Any]) -> dict[str, Any]:
    git, variables = environment.get("git_info"), environment.get("env_variables")
    if isinstance(git, dict):
        git = cast(dict[str, Any], git)
        if isinstance(remote := git.get("remote"), str):
            git["remote"] = without_credentials(remote)
    if isinstance(variables, dict):
        for name, value in cast(dict[str, Any], variables).items():
            if isinstance(value, str) and "://" in value:
                variables[name] = without_credentials(value)
    return environment
