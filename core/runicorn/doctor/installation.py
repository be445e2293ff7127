"""The plugins, and the read models of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runicorn.doctor.finding import Finding
from runicorn.errors import RunicornError
from runicorn.host import PluginHost, Selection


def plugins_load() -> Iterator[Finding]:
    """One finding for each plugin; one for all of them if the selection cannot be understood."""
    try:
        host = PluginHost.load(Selection.resolve())
        for hook in ("event_types", "projections", "commands"):
            list(host.collect(hook))
    except RunicornError as error:
        yield Finding("plugins", "problem", str(error), "`runicorn plugins` lists what is installed.")
        return
    for plugin in host.plugins:
        name = f"plugin {plugin.name}"
        if plugin.state == "failed":
            advice = f"Reinstall {plugin.distribution}, or leave it out: --without {plugin.name}"
            yield Finding(name, "problem", plugin.error or "failed", advice)
        else:
            yield Finding(name, "ok", f"{plugin.version}, {plugin.state}")


def read_models_are_sound(state_dir: Path) -> Finding:
    """Whether the read models can be looked into."""
    from runicorn.projection.state_files import describe_state

    if not state_dir.is_dir():
        return Finding("read models", "ok", "none yet")
    report = describe_state(state_dir)
    if report.unreadable:
        names = ", ".join(report.unreadable)
        advice = "Nothing is lost: they are built again from the log. Remove these files when you have seen enough."
        return Finding("read models", "warning", f"not readable: {names}", advice)
    unfinished = [model.file for model in report.models if not model.ready]
    if unfinished:
        return Finding("read models", "ok", f"being built: {', '.join(unfinished)}")
    return Finding("read models", "ok", f"{len(report.models)} files, {report.bytes / (1 << 20):.1f} MiB")
