"""The hooks by which a plugin takes part. A plugin is a module (or object) with some of these functions.

Register it under the entry-point group `runicorn.plugins`; its name there is the plugin's name. Mark implementations
with `runicorn.plugin.hookimpl`. Hooks are called separately for every plugin. One that raises, exits, does not return within
30 s (`RUNICORN_PLUGIN_PATIENCE`) or returns what cannot be used disables that plugin only, with one line in the log, and
`runicorn plugins` and `/api/health` show it. A hook contributes at most 1000 things, with names that differ.

Which process calls what: `serve` loads plugins in the API workers (routes, rate limits, lifespan, health) and in the
projector process (event types, projections, sources, reactions); the command line asks for commands. Keep imports of
heavy libraries inside the functions that need them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from litestar.types import ControllerRouterHandler

    from runicorn.events.envelope import Payload
    from runicorn.events.log import LocatedEvent
    from runicorn.history.subject import Subjects
    from runicorn.projection.base import Projection
    from runicorn.projection.source import ArtifactSource, Source
    from runicorn.server.health import Health
    from runicorn.store import Store

hookspec = pluggy.HookspecMarker("runicorn")
hookimpl = pluggy.HookimplMarker("runicorn")


@hookspec
def runicorn_event_types() -> Sequence[type[Payload]]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute event types: payload classes with an `event_type` such as `alert.raised`.

    Called once per process at start. A type that another plugin contributes already is an error at start that names
    both: `serve` refuses to start. Contributing a type documents it (`runicorn plugins`, `runicorn events show`) and lets
    `events verify` check its payloads; events of other types are kept and passed on all the same. Added in 0.5.
    """


@hookspec
def runicorn_projections() -> Sequence[Projection]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute projections: read models of this plugin, in a SQLite file of its own.

    Called once in the projector process and once in each API worker (which only needs names, versions and schemas to
    find the file). Names are unique within the plugin. Raise `version` whenever the schema or the meaning of a table
    changes: the tables are then built again from the log, while the old ones still serve. Names are letters, digits and
    `_`. An exception in `apply`, or a batch that takes longer than the patience of the server, stops this plugin's read model
    at its checkpoint until the server is started again; other plugins go on. Added in 0.5.
    """


@hookspec
def runicorn_sources(root: Path) -> Sequence[Source | ArtifactSource]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute sources: readers that turn files of runs or artifacts which are not event streams into events.

    Called once in the projector process, before any stream is read; `root` may be read-only. Names are unique over all
    plugins: one that is taken disables the plugin that is loaded later. A source that raises, does not return or says what is
    no event is asked no more until the server is started again; the read model of its plugin goes on. Added in 0.5.
    """


@hookspec
def runicorn_routes() -> Sequence[ControllerRouterHandler]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute HTTP and WebSocket routes: Litestar route handlers, controllers or routers with full paths.

    Called once per API worker, before the application is built. Handlers may take the parameters `store: Store` and
    `serving: Serving`. Raise the classes of `runicorn.errors` for errors that users see. A path and method that another
    plugin has already (parameter names do not count) is an error at start that names both. A route that fails ten times
    within a minute answers 503 for 30 s, then for longer; one that holds up all others for longer than the patience of the
    server is interrupted, and answers 503 until the server is started again. Added in 0.5.
    """


@hookspec
def runicorn_rate_limits() -> Mapping[str, int]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute rate limits: requests per 60 s and client, by `METHOD /api/path/{parameter}`.

    Called once per API worker. Routes without an entry have 60. A user's `rate_limits.json` beats these. An entry for a route
    of another plugin, or one that is no whole number above 0, disables the plugin. Added in 0.5.
    """


@hookspec
def runicorn_commands() -> Sequence[click.Command]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute commands to `runicorn`; a `click.Group` adds sub-commands.

    Called once at the start of the command line, so keep imports light. A name that exists already is an error that
    names both plugins. Added in 0.5.
    """


@hookspec
def runicorn_subjects() -> Sequence[Subjects]:  # type: ignore[empty-body]  # a specification has no body
    """Contribute kinds of subjects (such as runs) whose history people look at, and whose commands they take back.

    Called by `runicorn history` and `runicorn events undo`, with the read models level with the log. Each kind is asked what
    the user's text means; where several kinds know it, the user has to be more precise. A kind that raises anything but
    `NotFound`, or does not return, finds nothing. Added in 0.5.
    """


@hookspec
def runicorn_lifespan(store: Store) -> AbstractAsyncContextManager[None]:  # type: ignore[empty-body]  # a specification has no body
    """Run something as long as an API worker serves a root: return an async context manager.

    Entered after the store is open and before the first request; left before the store is closed, at most 2 s before the
    process ends. An exception on entering, or not being entered within the patience of the server, disables the plugin.
    `store.is_leader` is true in exactly one worker: do periodic work there. Added in 0.5.
    """


@hookspec
def runicorn_health(store: Store) -> Health:  # type: ignore[empty-body]  # a specification has no body
    """Report the state of this plugin for `/api/health`.

    Called on the event loop for every health request, so answer from memory, without files, network or locks. An
    exception is reported as status `error`. A hook that takes longer than 0.1 s is asked so seldom that it costs one percent
    of the time; one that had to be interrupted is asked no more. Plugins without this hook are `ok` while they are enabled.
    Added in 0.5.
    """


@hookspec
def runicorn_on_events(events: Sequence[LocatedEvent], directory: Path) -> None:
    """React to events after they were committed to the read models: alerts, webhooks, external indexers.

    Called in the projector process on a thread of this plugin, in the order of each stream, at most 500 at a time. The
    plugin has a durable cursor per stream that moves after the call returned: events are delivered at least once, and
    after an exception the same events are delivered again, later each time. Meanwhile, and while a call has not returned for
    30 s, `/api/health` shows the plugin in `error`. A plugin that is new to a state directory starts with what is appended
    from then on. While read models are built, nothing is delivered; what comes meanwhile is delivered afterwards. `directory`
    is the plugin's own, in the state directory, for what it has to remember between calls; it exists. Added in 0.5.
    """
