"""The command line, `runicorn <command>`.

Commands are imported when they are called, so that `--help` stays fast. Plugins add theirs by the hook
`runicorn_commands`.
"""

from __future__ import annotations

from runicorn.cli.group import Commands

CORE_COMMANDS = {
    # name: where it is. To add a command, add a line.
    "serve": "runicorn.cli.serve:serve",
    "viewer": "runicorn.cli.serve:serve",
    "completion": "runicorn.cli.completion:completion",
    "config": "runicorn.cli.config:config",
    "demo": "runicorn.cli.demo:demo",
    "doctor": "runicorn.cli.doctor:doctor",
    "events": "runicorn.cli.events:events",
    "export": "runicorn.cli.archives:export_command",
    "export-data": "runicorn.cli.export_data:export_data",
    "history": "runicorn.cli.history:history",
    "import": "runicorn.cli.archives:import_command",
    "plugins": "runicorn.cli.plugins:plugins",
    "rate-limit": "runicorn.cli.rate_limit:rate_limit",
    "state": "runicorn.cli.state:state",
}

main = Commands(CORE_COMMANDS)

__all__ = ["CORE_COMMANDS", "main"]
