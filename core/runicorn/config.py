"""Where things are: the user's configuration directory, the storage root, the state directory."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from runicorn.files import read_json_object

logger = logging.getLogger("runicorn.config")

INTERNAL = ".runicorn"
"""Below the root: our own files (store stream, state, staging). Never a project."""

_MAX_NAME = 60  # characters, at most 240 bytes: with the digest still a file name


def user_config_dir() -> Path:
    """The user's configuration directory; it need not exist."""
    try:
        home = Path.home()
    except RuntimeError:  # a container's user without a name: nothing can be stored, and nothing is
        home = Path(os.sep)
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "Runicorn"
    if os.name == "nt":
        roaming = os.environ.get("APPDATA")
        return (Path(roaming) if roaming else home / "AppData" / "Roaming") / "Runicorn"
    xdg = os.environ.get("XDG_CONFIG_HOME")
    return (Path(xdg) if xdg else home / ".config") / "runicorn"


def config_file() -> Path:
    """`config.json` of the user; it need not exist."""
    return user_config_dir() / "config.json"


def storage_root(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The absolute storage root: argument, then `RUNICORN_DIR`, then `user_root_dir` of the config, then `./.runicorn`.

    Empty values count as unset, `~` is expanded. Nothing is created.
    """
    chosen = os.fspath(explicit) if explicit else ""
    chosen = chosen or os.environ.get("RUNICORN_DIR", "") or configured_root()
    return Path(os.path.abspath(os.path.expanduser(chosen or INTERNAL)))


def configured_root() -> str:
    """`user_root_dir` of `config.json`, or an empty string."""
    value = (read_json_object(config_file()) or {}).get("user_root_dir")
    return value if isinstance(value, str) else ""


def state_directory(root: Path, explicit: str | os.PathLike[str] | None = None) -> Path:
    """Where read models live: `explicit`, or a directory of this root in `RUNICORN_STATE_DIR`, or below the root.

    In `RUNICORN_STATE_DIR`, every root has its own: its last path component and 8 hex digits of the SHA-256 of where it
    really is. Below the root it is `.runicorn/state`. Nothing is created.
    """
    if explicit:
        return Path(os.path.abspath(os.path.expanduser(explicit)))
    shared = os.environ.get("RUNICORN_STATE_DIR", "")
    if not shared:
        return root / INTERNAL / "state"
    from hashlib import sha256  # not for the SDK, which imports this module in the training process

    resolved = os.path.realpath(root)
    digest = sha256(os.fsencode(resolved)).hexdigest()[:8]
    name = os.path.basename(resolved)[:_MAX_NAME] or "root"
    return Path(os.path.abspath(os.path.expanduser(shared))) / f"{name}-{digest}"


def whole_numbers(prefix: str, names: Iterable[str]) -> dict[str, int]:
    """What the environment says of limits: `whole_numbers("RUNICORN_IMPORT_", ["members"])` reads `RUNICORN_IMPORT_MEMBERS`.

    Names that are not set are left out; so is what is no whole number, with a warning in the log, once per process.
    """
    found: dict[str, int] = {}
    for name in names:
        variable = prefix + name.upper()
        text = os.environ.get(variable, "")
        if text.isascii() and text.isdigit():
            found[name] = int(text)
        elif text:
            _warn_once(variable, "a whole number")
    return found


def positive_number(variable: str, default: float) -> float:
    """The number above 0 in a variable of the environment; the default if it is not set.

    So it is for anything else, with a warning in the log, once per process.
    """
    text = os.environ.get(variable, "")
    if not text:
        return default
    try:
        given = float(text)
    except ValueError:
        given = 0.0
    if math.isfinite(given) and given > 0:
        return given
    _warn_once(variable, "a number above 0")
    return default


def misunderstood() -> frozenset[str]:
    """The variables of the environment that this process has warned of."""
    return frozenset(_warned)


def _warn_once(variable: str, expected: str) -> None:
    if variable not in _warned:
        _warned.add(variable)
        logger.warning("%s is not %s; the default holds", variable, expected)


_warned: set[str] = set()
