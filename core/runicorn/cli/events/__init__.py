"""`runicorn events`: look into the log, check it, take a command back, and build the read models again."""

from __future__ import annotations

from runicorn.cli.group import LazyGroup

EVENTS_COMMANDS = {
    # name: where it is. To add a command, add a line.
    "export": "runicorn.cli.events.exporting:export_events",
    "import": "runicorn.cli.events.importing:import_events",
    "replay": "runicorn.cli.events.replay:replay",
    "show": "runicorn.cli.events.show:show",
    "stats": "runicorn.cli.events.stats:stats",
    "tail": "runicorn.cli.events.tail:tail",
    "undo": "runicorn.cli.events.undo:undo",
    "verify": "runicorn.cli.events.verify:verify",
}

events = LazyGroup(
    "events",
    EVENTS_COMMANDS,
    help="Look into the event log, check it, take commands back, and replay it into read models.\n\n"
    "\b\nExamples:\n  runicorn events tail\n  runicorn events verify\n  runicorn events replay",
)

__all__ = ["EVENTS_COMMANDS", "events"]
