"""All checks, one after the other; a file system that does not answer is a finding, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from runicorn.doctor.finding import Finding
from runicorn.doctor.installation import plugins_load, read_models_are_sound
from runicorn.doctor.machine import has_descriptors, notices_changes, sqlite_has_features
from runicorn.doctor.places import clock_is_right, has_room, root_is_usable, state_is_usable

_PATIENCE_S = 10.0


def examine(root: Path, state_dir: Path, *, patience_s: float = _PATIENCE_S) -> Iterator[Finding]:
    """Look at everything. Changes nothing; takes at most `patience_s` for each check."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("root", lambda: root_is_usable(root, state_dir)),
        ("root disk", lambda: has_room("root disk", root)),
        ("state", lambda: state_is_usable(root, state_dir)),
        ("state disk", lambda: has_room("state disk", state_dir)),
        ("clock", lambda: clock_is_right(root, state_dir)),
        ("inotify", lambda: notices_changes(root)),
        ("descriptors", has_descriptors),
        ("sqlite", sqlite_has_features),
        ("read models", lambda: read_models_are_sound(state_dir)),
    ]
    for name, check in checks:
        yield within(name, check, patience_s)
    yield from plugins_load()


def within(name: str, check: Callable[[], Finding], patience_s: float) -> Finding:
    """The finding of a check; a problem if it fails, or takes too long."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.append(check())
        except Exception as error:  # whatever it is, the other checks are still worth running
            advice = "Look at permissions and at the disk."
            found.append(Finding(name, "problem", f"it cannot be looked at: {error}", advice))

    thread = threading.Thread(target=run, daemon=True)  # a dead network file system lets go of nobody
    thread.start()
    thread.join(patience_s)
    if found:
        return found[0]
    return Finding(name, "problem", f"no answer within {patience_s:.0f} s", "Look at the file system: is it mounted?")
