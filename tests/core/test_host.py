"""The plugin host: real distributions on the import path, good ones and broken ones."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from runicorn.config import config_file
from runicorn.host import PluginCollision, PluginFailed, PluginHost, Selection
from runicorn.patience import Patience
from tests.plugin_on_path import PluginDirectory

CONTRIBUTING = """
    import click
    from runicorn.plugin import hookimpl

    @hookimpl
    def runicorn_commands():
        return [click.Command("{command}")]
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A directory of plugins on the import path of this process."""
    directory = PluginDirectory(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(directory.directory))
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules).difference(before):
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == directory.directory:
            del sys.modules[name]


def load(**selection: object) -> PluginHost:
    importlib.invalidate_caches()
    return PluginHost.load(Selection(**selection))  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table


def commands(host: PluginHost) -> list[tuple[str, str]]:
    return [(plugin.name, item.name) for plugin, items in host.collect("commands") for item in items]


def only(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_a_plugin_is_found_by_its_entry_point_with_version_and_distribution(plugins):
    plugins.add("hello", CONTRIBUTING.format(command="hi"), version="2.5")
    plugin = load(only=only("hello")).get("hello")
    assert plugin is not None
    assert (plugin.version, plugin.distribution, plugin.state, plugin.hooks) == (
        "2.5",
        "hello",
        "enabled",
        ["commands"],
    )


def test_built_in_plugins_come_first_then_by_name(plugins):
    plugins.add("aaa", "")
    names = [plugin.name for plugin in load(only=only("aaa", "runs")).plugins if plugin.state == "enabled"]
    assert names == ["runs", "aaa"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("raise KeyError()", "KeyError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_disabled_and_others_go_on(plugins, source, error):
    plugins.add("broken", source)
    plugins.add("fine", CONTRIBUTING.format(command="hi"))
    host = load(only=only("broken", "fine"))
    broken = next(plugin for plugin in host.plugins if plugin.name == "broken")
    assert broken.state == "failed"
    assert error in (broken.error or "")
    assert [plugin.name for plugin in host] == ["fine"]


def test_a_hook_that_raises_disables_its_plugin_only(plugins):
    plugins.add("exits", CONTRIBUTING.format(command="x").replace('return [click.Command("x")]', "raise SystemExit(1)"))
    plugins.add("raises", CONTRIBUTING.format(command="x").replace('return [click.Command("x")]', "yield 1 / 0"))
    plugins.add("fine", CONTRIBUTING.format(command="hi"))
    host = load(only=only("exits", "raises", "fine"))
    assert commands(host) == [("fine", "hi")]
    assert {plugin.name: plugin.state for plugin in host.plugins if plugin.name in ("exits", "raises")} == {
        "exits": "failed",
        "raises": "failed",
    }


def test_a_hook_without_the_mark_is_an_error_and_not_silence(plugins):
    plugins.add("forgot", "def runicorn_commands():\n    return []\n")
    plugin = next(plugin for plugin in load(only=only("forgot")).plugins if plugin.name == "forgot")
    assert plugin.state == "failed"
    assert plugin.error == "runicorn_commands is not marked with @hookimpl"


@pytest.mark.parametrize(
    "source",
    [
        "from runicorn.plugin import hookimpl\n@hookimpl\ndef runicorn_no_such_hook():\n    pass\n",
        "from runicorn.plugin import hookimpl\n@hookimpl\ndef runicorn_commands(no_such_argument):\n    pass\n",
    ],
)
def test_a_hook_that_does_not_exist_or_has_other_arguments_disables_its_plugin(plugins, source):
    plugins.add("odd", source)
    plugins.add("fine", CONTRIBUTING.format(command="hi"))
    host = load(only=only("odd", "fine"))
    assert next(plugin for plugin in host.plugins if plugin.name == "odd").state == "failed"
    assert commands(host) == [("fine", "hi")]


def test_an_unknown_name_in_the_selection_is_refused_by_name():
    with pytest.raises(PluginFailed, match="No such plugin: nonsense"):
        load(only=only("runs", "nonsense"))
    with pytest.raises(PluginFailed, match="No such plugin: nonsense"):
        load(without=only("nonsense"))


def test_two_plugins_with_one_contribution_are_both_named(plugins):
    plugins.add("one", CONTRIBUTING.format(command="same"))
    plugins.add("two", CONTRIBUTING.format(command="same"))
    host = load(only=only("one", "two"))
    with pytest.raises(PluginCollision, match="The plugins one and two both contribute the command same"):
        host.unique("commands", lambda command: command.name, "command")


def test_a_plugin_whose_contribution_has_no_key_is_disabled_and_the_others_count(plugins):
    plugins.add("odd", CONTRIBUTING.format(command="it"))
    plugins.add("fine", CONTRIBUTING.format(command="its"))
    host = load(only=only("odd", "fine"))

    assert [item.name for _, item in host.unique("commands", lambda item: item.name[2], "command")] == ["its"]
    assert next(plugin for plugin in host.plugins if plugin.name == "odd").state == "failed"


def test_two_distributions_with_one_plugin_name_are_both_named(plugins):
    plugins.add("twin", "")
    plugins.add("other", "")
    entry_points = next(plugins.directory.glob("other-*")) / "entry_points.txt"
    entry_points.write_text("[runicorn.plugins]\ntwin = other\n")
    with pytest.raises(PluginCollision, match=r"distributions (twin and other|other and twin) both have a plugin twin"):
        load(only=only("twin"))


def test_names_that_cannot_be_part_of_a_file_name_are_refused(plugins):
    plugins.add("fine", "")
    entry_points = next(plugins.directory.glob("fine-*")) / "entry_points.txt"
    entry_points.write_text("[runicorn.plugins]\n../up = fine\nmy-plugin.x = fine\n")
    states = {plugin.name: plugin.state for plugin in load().plugins}
    assert states["../up"] == "failed"
    assert states["my-plugin.x"] == "enabled"


def test_what_is_not_selected_is_not_even_imported(plugins):
    plugins.add("bomb", "raise AssertionError('imported')")
    states = {plugin.name: (plugin.state, plugin.error) for plugin in load(only=only("runs")).plugins}
    assert states["bomb"] == ("disabled", "not selected")
    assert {plugin.name: plugin.state for plugin in load(without=only("bomb")).plugins}["bomb"] == "disabled"


def test_the_command_line_beats_the_environment_beats_the_configuration(monkeypatch):
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(json.dumps({"plugins": ["a", " b"], "without": "c,d"}))
    assert Selection.resolve() == Selection(frozenset("ab"), frozenset("cd"))
    monkeypatch.setenv("RUNICORN_PLUGINS", "e, f,")
    monkeypatch.setenv("RUNICORN_WITHOUT", "")
    assert Selection.resolve() == Selection(frozenset("ef"), frozenset("cd"))
    assert Selection.resolve("g", ["h,i", "j"]) == Selection(frozenset("g"), frozenset("hij"))


def test_a_selection_survives_the_way_to_another_process():
    chosen = Selection(frozenset({"runs", "query"}), frozenset({"remote"}))
    assert chosen.arguments() == ["--plugins", "query,runs", "--without", "remote"]
    assert Selection().arguments() == []


RETURNING = """
    from pathlib import Path
    from typing import ClassVar
    from runicorn.plugin import Payload, hookimpl

    class Happened(Payload, frozen=True):
        event_type: ClassVar[str] = "thing.happened"

    class Good:
        name, version, schema, streams, files = "good", 1, "", frozenset({"run"}), frozenset({"x.txt"})
        def apply(self, batch, tables): ...
        def forget(self, stream_id, tables): ...
        def observe(self, root, run, model): return []

    class Bad(Good):
        pass

    def with_(**fields):
        for name, value in fields.items():
            setattr(Bad, name, value)
        return [Bad()]

    class Never(Payload, frozen=True):
        event_type: ClassVar[str] = "Never Ever"

    @hookimpl
    def runicorn_@HOOK@():
        return @VALUE@
"""


@pytest.mark.parametrize(
    ("hook", "value", "reason"),
    [
        ("event_types", "[Happened]", None),
        ("event_types", "Happened", "returned Happened, not a list"),
        ("event_types", "'Happened'", "returned str, not a list"),
        ("event_types", "[Good]", "returned Good, not a subclass of Payload"),
        ("event_types", "[Happened, Happened]", "returned two with the name thing.happened"),
        ("event_types", "[Never]", "Never has the event_type 'Never Ever': it is like alert.raised"),
        ("projections", "[Good()]", None),
        ("projections", "(Good() for _ in range(1))", None),
        (
            "projections",
            "with_(name='two words')",
            "a projection has the name 'two words': letters, digits and `_` only",
        ),
        ("projections", "with_(version='1')", "the projection good has the version '1': it is a whole number"),
        ("projections", "with_(schema=None)", "the projection good has no schema"),
        ("projections", "with_(streams={'all'})", "the projection good has the streams {'all'}: a frozenset of"),
        ("projections", "with_(forget=None)", "good has no method forget"),
        ("routes", "['/api/x']", "returned str, not a route handler"),
        ("rate_limits", "{'GET /api/x': 5}", None),
        ("rate_limits", "[5]", "returned list, not a mapping"),
        (
            "rate_limits",
            "{'GET /api/x': True}",
            "True requests to GET /api/x are no limit: it is a whole number above 0",
        ),
        ("rate_limits", "{str(n): 5 for n in range(2000)}", "returned more than 1000 things"),
    ],
)
def test_what_hooks_return_is_checked_where_it_comes_in(plugins, hook, value, reason):
    plugins.add("saying", RETURNING.replace("@HOOK@", hook).replace("@VALUE@", value))
    host = load(only=only("saying"))
    collected = host.collect(hook)
    plugin = host.plugins[-1]
    if reason is None:
        assert (plugin.error, len(collected)) == (None, 1)
    else:
        assert plugin.error is not None
        assert plugin.error.startswith(f"{hook}: {reason}")
        assert collected == []


def test_sources_are_checked_where_they_come_in(plugins):
    for number, (value, reason) in enumerate(
        (
            ("[Good()]", None),
            ("with_(files='x.txt')", "the source good has the files 'x.txt': a frozenset of names"),
            ("with_(observe=None)", "good has no method observe"),
            ("with_(observe_artifact=print)", "good has no method signature"),
        )
    ):
        plugins.add(f"saying{number}", RETURNING.replace("@HOOK@()", "sources(root)").replace("@VALUE@", value))
        host = load(only=only(f"saying{number}"))
        host.collect("sources", root=Path())
        assert next(p.error for p in host.plugins if p.name == f"saying{number}") == (reason and f"sources: {reason}")


def test_a_plugin_that_does_not_return_is_given_up(plugins):
    plugins.add("importing", "import time\nwhile True:\n    time.sleep(60)\n")
    plugins.add("asked", CONTRIBUTING.format(command="x").replace("return [", "while True: pass #"))
    importlib.invalidate_caches()
    host = PluginHost.load(Selection(only("importing", "asked")), Patience(0.3))
    host.collect("commands")
    assert {plugin.name: plugin.error for plugin in host.plugins if plugin.state == "failed"} == {
        "asked": "commands has not returned for 0.3 s",
        "importing": "import has not returned for 0.3 s",
    }
