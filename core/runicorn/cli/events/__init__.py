"""`runicorn events`: look into the log, check it, and build the read models again from it."""

from __future__ import annotations

from runicorn.cli.group import LazyGroup

EVENTS_COMMANDS = {
    # name: where it is. To add a command, add a line.
    "replay": "runicorn.cli.events.replay:replay",
    "show": "runicorn.cli.events.show:show",
    "stats": "runicorn.cli.events.stats:stats",
    "tail": "runicorn.cli.events.tail:tail",
    "verify": "runicorn.cli.events.verify:verify",
}

events = LazyGroup(
    "events", EVENTS_COMMANDS, help="Look into the event log, check it, and build read models again from it."
)

__all__ = ["EVENTS_COMMANDS", "events"]
