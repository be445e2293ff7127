"""Who leads? A leaderboard per project. The hooks, one line each: the plugin's table of contents."""

from __future__ import annotations

from runicorn.plugin import hookimpl


@hookimpl
def runicorn_projections():
    from runicorn_leaderboard.projection import Leaderboard

    return [Leaderboard()]


@hookimpl
def runicorn_routes():
    from runicorn_leaderboard.routes import leaderboard

    return [leaderboard]


@hookimpl
def runicorn_rate_limits():
    return {"GET /api/leaderboard/{project}": 120}


@hookimpl
def runicorn_commands():
    from runicorn_leaderboard.command import show

    return [show]


@hookimpl
def runicorn_on_events(events):
    from runicorn_leaderboard.reaction import congratulate

    congratulate(events)
