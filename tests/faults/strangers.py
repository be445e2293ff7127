"""Plugins by strangers that misbehave, one for each hook and way: their source, and what `/api/health` says about them.

`HOOK × {raises, exits, hangs, nonsense, too much, bad names, two of a name, closes, leaks, is slow}`, as far as the hook can.
"""

# ruff: noqa: E501 - one line for each case

from __future__ import annotations

import textwrap
from typing import NamedTuple


class Case(NamedTuple):
    """One way to misbehave. `reason` is a pattern for the detail in `/api/health`; the plugin is called `stranger`."""

    name: str
    source: str
    reason: str
    provoke: str | None = None
    """A path to ask for before health is looked at."""
    status: str = "error"

    def called(self, plugin: str) -> Case:
        """The same under another name, so that it can be installed beside the others."""
        provoke = self.provoke and self.provoke.replace("stranger", plugin)
        source, reason = self.source.replace("stranger", plugin), self.reason.replace("stranger", plugin)
        return self._replace(source=source, reason=reason, provoke=provoke)


def module(body: str) -> str:
    """A plugin with usual parts, of which `body` replaces some."""
    return textwrap.dedent(_PARTS) + textwrap.dedent(body)


_PARTS = """
    import os, sys, time
    from contextlib import asynccontextmanager
    from typing import ClassVar
    import click
    from litestar import get
    from runicorn.plugin import Health, Payload, Store, hookimpl

    class Happened(Payload, frozen=True):
        event_type: ClassVar[str] = "stranger.happened"

    class Seen:
        name, version, schema = "seen", 1, "CREATE TABLE seen(stream_id INTEGER)"
        streams = frozenset({"run", "store", "artifact"})

        def apply(self, batch, tables):
            tables.execute("INSERT INTO seen VALUES (?)", (batch.stream_id,))

        def forget(self, stream_id, tables):
            tables.execute("DELETE FROM seen WHERE stream_id = ?", (stream_id,))

    class Files:
        name, files = "stranger_files", frozenset({"stranger.txt"})

        def observe(self, root, run, model):
            return []

    @hookimpl
    def runicorn_projections():
        return [Seen()]

    def forever(*_):
        while True:
            time.sleep(3600)

    def spin(*_):
        while True:
            pass
"""


def hook(name: str, body: str, arguments: str = "") -> str:
    """A hook with one line."""
    return f"@hookimpl\ndef runicorn_{name}({arguments}):\n    {body}\n"


def _contributing(name: str, arguments: str = "") -> list[Case]:
    """What every hook that is asked at start can do wrong."""
    raised = {"raises": "raise KeyError('lost')", "exits": "sys.exit(5)", "aborts": "raise GeneratorExit"}
    what = {"raises": "KeyError: 'lost'", "exits": "SystemExit: 5", "aborts": "GeneratorExit"}
    cases = [
        Case(f"{name} {way}", module(hook(name, body, arguments)), f"{name}: {what[way]}")
        for way, body in raised.items()
    ]
    return [
        *cases,
        Case(f"{name} hangs", module(hook(name, "forever()", arguments)), f"{name} has not returned for"),
        Case(f"{name} is nonsense", module(hook(name, "return 42", arguments)), f"{name}: returned int, not a"),
        Case(
            f"{name} has no end",
            module(hook(name, "return ((str(i), i) for i in iter(int, 1))", arguments)),
            f"{name}: .*(returned|more than)",
        ),
    ]


def _apply(body: str) -> str:
    return module(
        f"class Bad(Seen):\n    def apply(self, batch, tables):\n        {body}\n"
        + hook("projections", "return [Bad()]")
    )


def _source(body: str) -> str:
    return module(
        f"class Bad(Files):\n    def observe(self, root, run, model):\n        {body}\n"
        + hook("sources", "return [Bad()]", "root")
    )


def _route(body: str) -> str:
    handler = f"@get('/api/stranger', sync_to_thread=False)\ndef route(store: Store) -> dict[str, int]:\n    {body}\n"
    return module(handler + hook("routes", "return [route]"))


def _lifespan(body: str) -> str:
    return module(f"@hookimpl\n@asynccontextmanager\nasync def runicorn_lifespan(store):\n    {body}\n    yield\n")


AT_START = [
    Case("import raises", "raise RuntimeError('no')", "import: RuntimeError: no"),
    Case("import exits", "import os, sys; sys.exit('gone')", "import: SystemExit: gone"),
    Case("import hangs", "import time\nwhile True: time.sleep(60)", "import has not returned for"),
    *_contributing("event_types"),
    Case("event_types of a bad name", module("Happened.event_type = 'Hello World'\n" + hook("event_types", "return [Happened]")), "event_types: .*'Hello World'"),
    Case("event_types twice", module(hook("event_types", "return [Happened, Happened]")), "event_types: returned two with the name"),
    *_contributing("routes"),
    Case("routes that cannot be", module("@get('api/stranger/{x:nothing}')\ndef bad(x) -> None: ...\n" + hook("routes", "return [bad]")), "routes: "),
    Case("routes with an unknown parameter", module("@get('/api/stranger', sync_to_thread=False)\ndef bad(x: 'Nowhere') -> None: ...\n" + hook("routes", "return [bad]")), "routes: "),
    *_contributing("rate_limits"),
    Case("rate_limits of a bad name", module(hook("rate_limits", "return {'everything': 5}")), "rate_limits: 'everything' is no route"),
    Case("rate_limits below one", module(hook("rate_limits", "return {'GET /api/stranger': -1}")), "rate_limits: -1 requests"),
    Case("rate_limits of others", module(hook("rate_limits", "return {'GET /api/runs': 1}")), "rate_limits: GET /api/runs is no route of this plugin"),
]  # fmt: skip

ON_OPENING = [
    *_contributing("projections"),
    Case("projections of a bad name", module("Seen.name = '../up'\n"), "projections: .*'../up'"),
    Case("projections of one name", module(hook("projections", "return [Seen(), Seen()]")), "projections: returned two with the name seen"),
    Case("projections with a broken schema", module("Seen.schema = 'CREATE TALBE'\n"), "syntax error"),
    Case("projections with tables of the server", module("Seen.schema = 'CREATE TABLE meta(x)'\n"), "already exists"),
    Case("lifespan raises", _lifespan("raise KeyError('lost')"), "lifespan: KeyError: 'lost'"),
    Case("lifespan exits", _lifespan("sys.exit(5)"), "lifespan: SystemExit: 5"),
    Case("lifespan waits", _lifespan("import asyncio; await asyncio.sleep(3600)"), "lifespan: has not been entered for"),
    Case("lifespan hangs", _lifespan("forever()"), "lifespan: .* has held up all requests for"),
    Case("lifespan is nonsense", module(hook("lifespan", "return 42", "store")), "lifespan: TypeError"),
]  # fmt: skip

IN_THE_PROJECTOR = [
    *_contributing("sources", "root"),
    Case("sources of a taken name", module("Files.name = 'run_files'\n" + hook("sources", "return [Files()]", "root")), "sources: the plugin runs has a source run_files, too"),
    Case("apply raises", _apply("raise KeyError('lost')"), "KeyError: 'lost'"),
    Case("apply exits", _apply("sys.exit(5)"), "SystemExit: 5"),
    Case("apply hangs", _apply("forever()"), "apply has not returned for"),
    Case("apply hangs in C", _apply("tables.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT sum(i) FROM n').fetchall()"), "apply has not returned for"),
    Case("apply dies", _apply("os.abort()"), "the projector has died 3 times in its apply, with status -6"),
    Case("apply closes", _apply("tables.connection.close()"), "ConnectionClosedError"),
    Case("apply ends the transaction", _apply("tables.execute('COMMIT')"), "no transaction is active"),
    Case("apply is out of memory", _apply("raise MemoryError"), "MemoryError"),
    Case("apply is slow", _apply("time.sleep(0.8)"), "its read model takes long: .* of the projector's time", status="degraded"),
    Case("before_commit raises", module("def late(self, tables): raise KeyError('lost')\nSeen.before_commit = late\n"), "KeyError: 'lost'"),
    Case("active_streams raises", module("def who(self, tables): raise KeyError('lost')\nSeen.active_streams = who\n"), "KeyError: 'lost'"),
    Case("active_streams hangs", module("Seen.active_streams = forever\n"), "active_streams has not returned for"),
    Case("observe raises", _source("raise KeyError('lost')"), "source stranger_files: KeyError: 'lost'"),
    Case("observe hangs", _source("spin()"), "source stranger_files has not returned for"),
    Case("observe is nonsense", _source("return [('now', 5)]"), "source stranger_files: said str for a time"),
    Case("known_runs is nonsense", module("Files.known_runs = lambda self, model: ['nowhere/../..', 3]\n" + hook("sources", "return [Files()]", "root")), "source stranger_files: "),
    Case("on_events raises", module(hook("on_events", "raise KeyError('lost')", "events, directory")), "on_events has failed"),
    Case("on_events exits", module(hook("on_events", "sys.exit(5)", "events, directory")), "on_events has failed .*SystemExit: 5"),
]  # fmt: skip

WHILE_SERVING = [
    Case("health raises", module(hook("health", "raise KeyError('lost')", "store")), "health: KeyError: 'lost'"),
    Case("health exits", module(hook("health", "sys.exit(5)", "store")), "health: SystemExit: 5"),
    Case("health is nonsense", module(hook("health", "return 42", "store")), "health: returned int, not a Health"),
    Case("health of no status", module(hook("health", "return Health('fine')", "store")), "health: returned a Health with a status"),
    Case("health is huge", module(hook("health", "return Health('degraded', 'x' * 10**7)", "store")), "^x{500}…$", status="degraded"),
    Case("health is slow", module(hook("health", "time.sleep(0.3); return Health('ok')", "store")), "health took 0.3 s, and is asked less often", status="degraded"),
    Case("health hangs", module(hook("health", "forever()", "store")), "health is not asked any more: stranger.forever"),
    Case("a route raises", _route("raise KeyError('lost')"), "route GET /api/stranger is off until", "/api/stranger"),
    Case("a route exits", _route("sys.exit(5)"), "route GET /api/stranger is off until", "/api/stranger"),
    Case("a route answers nonsense", _route("return object()"), "route GET /api/stranger is off until", "/api/stranger"),
    Case("a route hangs", _route("forever()"), "off until the server restarts: stranger.forever, line .* has held up all", "/api/stranger"),
    Case("a route is slow", _route("time.sleep(1.7); return {}"), "held up all requests for .* in stranger.route", "/api/stranger", "degraded"),
    Case("a route closes the read model of others", _route("return store.model('runs').query(lambda db: db.close())"), "", "/api/stranger", "ok"),
    Case("a route leaks a statement", _route("LEFT.append(store.model('runs').query(lambda db: db.execute('SELECT 1 UNION ALL SELECT 2 FROM run'))); next(LEFT[-1]); return {}\nLEFT = []"), "", "/api/stranger", "ok"),
]  # fmt: skip
