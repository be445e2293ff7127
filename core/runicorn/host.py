"""The plugin host: finds plugins by entry point, loads the selected ones, and keeps a broken one from hurting others."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal, TypeVar, cast

import msgspec
import pluggy

from runicorn import hookspecs
from runicorn.contributions import NotUsable, checked
from runicorn.errors import RunicornError
from runicorn.files import read_json_object
from runicorn.patience import BUILT_IN, Patience, TookTooLong

logger = logging.getLogger("runicorn.plugins")

GROUP = "runicorn.plugins"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("runicorn_"))

T = TypeVar("T")
State = Literal["enabled", "disabled", "failed"]


class PluginCollision(RunicornError):
    """Two plugins contribute the same thing; the text names both."""


class PluginFailed(RunicornError):
    """A built-in plugin that was explicitly selected cannot be loaded."""


class Plugin(msgspec.Struct):
    """One discovered plugin. `error` says why it is `failed`, or why it is `disabled`."""

    name: str
    version: str
    distribution: str
    state: State
    error: str | None = None
    module: Any = None

    @property
    def hooks(self) -> list[str]:
        """Names of the hooks that it implements, without the prefix."""
        return [name.removeprefix("runicorn_") for name in HOOKS if _is_marked(getattr(self.module, name, None))]


class Selection(msgspec.Struct, frozen=True):
    """Which plugins to load. `only` None means all."""

    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    @classmethod
    def resolve(cls, only: str | None = None, without: Sequence[str] = ()) -> Selection:
        """From the command line, else `RUNICORN_PLUGINS` / `RUNICORN_WITHOUT`, else `plugins` / `without` of the config.

        Names are separated by commas; an empty value counts as unset.
        """
        from runicorn.config import config_file

        config = read_json_object(config_file()) or {}
        chosen = _names(only) or _names(os.environ.get("RUNICORN_PLUGINS")) or _names(config.get("plugins"))
        excluded = (
            _names(",".join(without)) or _names(os.environ.get("RUNICORN_WITHOUT")) or _names(config.get("without"))
        )
        return cls(chosen or None, excluded)

    def arguments(self) -> list[str]:
        """The command-line arguments that give this selection to another process."""
        only = [] if self.only is None else ["--plugins", ",".join(sorted(self.only))]
        return only + (["--without", ",".join(sorted(self.without))] if self.without else [])


class PluginHost:
    """The loaded plugins. Iterate over it for those that are enabled, in order of their names, built-in ones first.

    `patience` is how long a hook is waited for where `collect` calls it.
    """

    def __init__(self, plugins: Sequence[Plugin] = (), patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.plugins = sorted(plugins, key=lambda plugin: (plugin.name not in BUILT_IN, plugin.name))
        self._manager = pluggy.PluginManager("runicorn")
        self._manager.add_hookspecs(hookspecs)
        for plugin in self.plugins:
            if plugin.state == "enabled":
                self._register(plugin)

    @classmethod
    def load(cls, selection: Selection | None = None, patience: Patience | None = None) -> PluginHost:
        """Discover and import the plugins of this environment.

        PluginFailed if a name is selected that does not exist, or a built-in plugin that was selected by name fails;
        PluginCollision if two distributions bring a plugin of the same name.
        """
        selection = selection or Selection()
        patience = patience or Patience()
        entries: dict[str, importlib.metadata.EntryPoint] = {}
        for entry in importlib.metadata.entry_points(group=GROUP):
            other = entries.setdefault(entry.name, entry)
            if other.value != entry.value and entry.name not in selection.without:
                raise PluginCollision(
                    f"The distributions {_distribution(other)} and {_distribution(entry)} both have a plugin"
                    f" {entry.name}. Uninstall one of them, or leave the plugin out: --without {entry.name}"
                )
        unknown = sorted(((selection.only or frozenset()) | selection.without) - set(entries))
        if unknown:
            raise PluginFailed(f"No such plugin: {', '.join(unknown)}. `runicorn plugins` lists what is installed.")
        # Ours first: what all of them import, no stranger is to be charged for.
        ordered = sorted(entries.values(), key=lambda entry: (entry.name not in BUILT_IN, entry.name))
        host = cls([_import(entry, selection, patience) for entry in ordered], patience)
        for plugin in host.plugins:
            if plugin.state == "failed" and plugin.name in BUILT_IN and plugin.name in (selection.only or ()):
                raise PluginFailed(f"The plugin {plugin.name} was selected, but cannot be loaded: {plugin.error}")
        return host

    def __iter__(self) -> Iterator[Plugin]:
        return (plugin for plugin in self.plugins if plugin.state == "enabled")

    def get(self, name: str) -> Plugin | None:
        """The enabled plugin of that name."""
        return next((plugin for plugin in self if plugin.name == name), None)

    def call(self, plugin: Plugin, hook: str, **arguments: object) -> Any:
        """Call one hook of one plugin; None if it does not implement it. Exceptions as they come."""
        caller = self._manager.subset_hook_caller(
            f"runicorn_{hook}",
            [other.module for other in self.plugins if other.module is not None and other.module is not plugin.module],
        )
        results = cast(list[Any], caller(**arguments))
        return results[0] if results else None

    def collect(self, hook: str, **arguments: object) -> list[tuple[Plugin, Any]]:
        """Call a hook of every enabled plugin. What they returned, None left out.

        A plugin that raises, takes too long or returns what cannot be used is disabled.
        """
        collected: list[tuple[Plugin, Any]] = []
        for plugin in list(self):
            with self.disabled_if_it_fails(plugin, hook), self.patience.call(plugin.name, hook):
                result = self.call(plugin, hook, **arguments)
                if result is not None:
                    collected.append((plugin, checked(hook, result)))
        return collected

    @contextlib.contextmanager
    def disabled_if_it_fails(self, plugin: Plugin, what: str) -> Generator[None]:
        """Around code of a plugin: whatever it raises concerns this plugin alone, and disables it."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except TookTooLong as error:
            self.fail(plugin, str(error), error)
        except BaseException as error:
            self.fail(plugin, f"{what}: {describe(error)}", error)

    def unique(self, hook: str, key: Callable[[Any], str], what: str, **arguments: object) -> list[tuple[Plugin, Any]]:
        """Like `collect`, one pair for each contribution; PluginCollision if two plugins contribute the same key.

        A plugin with a contribution that has no key is disabled.
        """
        owners: dict[str, str] = {}
        contributions: list[tuple[Plugin, Any]] = []
        for plugin, items in self.collect(hook, **arguments):
            keys: list[str] = []
            with self.disabled_if_it_fails(plugin, hook):
                keys = [key(item) for item in items]
            for name in keys:
                claim(owners, name, plugin.name, what)
            if plugin.state == "enabled":
                contributions += [(plugin, item) for item in items]
        return contributions

    def fail(self, plugin: Plugin, reason: str, error: BaseException | None = None) -> None:
        """Disable a plugin that misbehaved, with one clear line."""
        plugin.state, plugin.error = "failed", reason
        logger.error("plugin %s is disabled: %s", plugin.name, reason)
        logger.debug("plugin %s", plugin.name, exc_info=error)

    def _register(self, plugin: Plugin) -> None:
        unmarked = [name for name in HOOKS if callable(f := getattr(plugin.module, name, None)) and not _is_marked(f)]
        if unmarked:
            self.fail(plugin, f"{unmarked[0]} is not marked with @hookimpl")
            return
        try:
            self._manager.register(plugin.module, plugin.name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            with contextlib.suppress(AssertionError, ValueError):  # it may be registered in part, or not at all
                self._manager.unregister(plugin.module)
            self.fail(plugin, describe(error), error)


def installed_plugins() -> frozenset[str]:
    """The names of all plugins of this environment, selected or not. Imports none of them."""
    return frozenset(entry.name for entry in importlib.metadata.entry_points(group=GROUP))


def source_paths() -> list[str]:
    """Where the source of the installed plugins is: their packages, or the files of single modules. Imports none of them."""
    found: set[str] = set()
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            spec = importlib.util.find_spec(entry.module.partition(".")[0])
        except (ImportError, ValueError):
            continue
        if spec is not None:
            found.update(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))
    return sorted(path for path in found if os.path.exists(path))


def claim(owners: dict[str, str], key: str, plugin: str, what: str) -> None:
    """Note that `plugin` contributes `key`; PluginCollision if another one (or itself) did so before."""
    owner = owners.setdefault(key, plugin)
    if owner != plugin:
        raise PluginCollision(
            f"The plugins {owner} and {plugin} both contribute the {what} {key}. Leave one of them out: --without {plugin}"
        )


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # it becomes part of file names, and of lists with commas


def _is_marked(implementation: object) -> bool:
    return hasattr(implementation, "runicorn_impl")  # what `hookimpl` leaves on a function


def _distribution(entry: importlib.metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"


def _import(entry: importlib.metadata.EntryPoint, selection: Selection, patience: Patience) -> Plugin:
    distribution = entry.dist
    plugin = Plugin(
        name=entry.name,
        version=distribution.version if distribution else "unknown",
        distribution=_distribution(entry),
        state="enabled",
    )
    if _NAME.fullmatch(entry.name) is None:
        plugin.state, plugin.error = "failed", "its name is unfit: letters, digits, `_`, `-` and `.` only"
        return plugin
    if (selection.only is not None and entry.name not in selection.only) or entry.name in selection.without:
        plugin.state, plugin.error = "disabled", "not selected"
        return plugin
    try:
        with patience.call(entry.name, "import"):
            plugin.module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's code: whatever it raises concerns this plugin alone
        plugin.state = "failed"
        plugin.error = str(error) if isinstance(error, TookTooLong) else f"import: {describe(error)}"
        logger.error("plugin %s is disabled: %s", plugin.name, plugin.error)
        logger.debug("plugin %s", plugin.name, exc_info=True)
    return plugin


def describe(error: BaseException) -> str:
    """One line about an exception: its class and the first line of its text."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # an exception of a stranger's class, with a `__str__` that raises
        text = []
    if isinstance(error, TookTooLong | NotUsable):
        return text[0]
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _names(value: object) -> frozenset[str]:
    if isinstance(value, list):
        value = ",".join(str(item) for item in cast(list[object], value))
    return (
        frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else frozenset()
    )
