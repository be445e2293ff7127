"""`runicorn events verify`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn.cli.events.findings import Findings
from runicorn.cli.events.opening import open_log
from runicorn.cli.events.printing import counted, json_option
from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.progress import progress_bar

if TYPE_CHECKING:
    from runicorn.errors import RunicornError
    from runicorn.events.log import FileLog, Stream
    from runicorn.host import PluginHost
    from runicorn.projection.verifying import Checked

_REPLAY = (
    "`runicorn events replay --plugin {0}` builds the read model again from the log, while a server goes on answering;"
    " `runicorn events verify --repair` does so where it finds one wrong."
)


@click.command()
@storage_option
@state_dir_option
@click.option("--no-replay", is_flag=True, help="Do not compare the read models with a replay of the log.")
@click.option(
    "--repair", is_flag=True, help="Copy lines that are no use to the quarantine, and build wrong read models again."
)
@json_option
def verify(storage: str | None, state_dir: Path | None, no_replay: bool, repair: bool, as_json: bool) -> None:
    """Check every stream, the files of every run and artifact, and every read model against a replay.

    Exit status 1 if something is damaged. Servers and trainers may go on meanwhile: a read model that is only behind is
    brought level in a copy first. --repair never edits a log; lines in the quarantine are remarks from then on.

    \b
    Examples:
      runicorn events verify
      runicorn events verify --no-replay
      runicorn events verify --json | jq .stream
      runicorn events verify --repair
    """
    from runicorn.host import PluginHost, Selection

    log = open_log(storage, state_dir)
    host = PluginHost.load(Selection.resolve())
    findings = Findings(as_json)
    streams, size = _verify_log(log, host, findings, is_repairing=repair)
    found = findings.defects
    with _damage_told_once():
        checks = [] if no_replay else _verify_models(log, host, findings, is_repairing=repair)
    findings.tell_rest()
    checked = f"{counted(streams, 'stream')}, {counted(size, 'byte')} checked"
    click.echo(f"{checked}: {counted(found, 'problem') if found else 'no problems'}.", err=True)
    if not no_replay:
        click.echo(_models_summary(checks), err=True)
    if findings.repaired:
        left = findings.defects - findings.repaired
        click.echo(f"{findings.repaired} repaired, {left or 'none'} left.", err=True)
    if findings.defects > findings.repaired:
        sys.exit(1)


def _verify_log(log: FileLog, host: PluginHost, findings: Findings, *, is_repairing: bool) -> tuple[int, int]:
    """Streams and side files; how many streams there are, and their bytes."""
    from runicorn.events.problems import Problem
    from runicorn.events.quarantine import Adding, Quarantine
    from runicorn.events.side_files import verify_side_files
    from runicorn.events.verify import verify_segments, verify_stream

    types = {
        payload.event_type: payload for _, payload in host.unique("event_types", lambda t: t.event_type, "event type")
    }
    streams = list(log.streams())
    total = sum(position.size for stream in streams if (position := log.position(stream)) is not None)
    quarantine = Quarantine(log)
    with ExitStack() as repairing:
        adding: Adding | None = None

        def tell(problem: Problem, stream: Stream | None = None) -> None:
            nonlocal adding
            place, offset, reason = problem.stream, problem.offset, problem.reason
            is_repaired = False
            if problem.is_line and stream is not None and offset is not None:
                if quarantine.holds(stream, offset):
                    findings.remark(place, offset, f"quarantined: {reason}")
                    return
                if is_repairing:
                    adding = adding or repairing.enter_context(quarantine.adding())
                    adding.add(stream, offset, reason)
                    is_repaired = True
            if problem.is_remark:
                findings.remark(place, offset, reason)
            else:
                findings.defect(place, offset, reason, problem.repair, is_repaired=is_repaired)

        with progress_bar("Checking", total) as advance:
            for stream in streams:
                for found in verify_stream(log, stream, types):
                    if isinstance(found, Problem):
                        tell(found, stream)
                    else:
                        advance(found)
            for problem in verify_segments(log):
                tell(problem)
            for problem in verify_side_files(log.root):
                tell(problem)
    return len(streams), total


@contextmanager
def _damage_told_once() -> Generator[None]:
    """Whoever applies the log warns of lines that are no events, and names this command."""
    logger = logging.getLogger("runicorn.projection")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _verify_models(log: FileLog, host: PluginHost, findings: Findings, *, is_repairing: bool) -> list[Checked]:
    from runicorn.projection.verifying import verify_models

    with ExitStack() as bars:
        replaying = bars.enter_context(progress_bar("Replaying", log.size))

        def comparing(rows: int) -> Callable[[int], None]:
            bars.pop_all().close()
            return bars.enter_context(progress_bar("Comparing", rows, in_bytes=False))

        checks = verify_models(log.root, log.state_dir, host, replaying=replaying, comparing=comparing)
    wrong = [checked.plugin for checked in checks if not checked.is_sound]
    failure = _rebuild(log, host, wrong) if is_repairing and wrong else None
    for checked in checks:
        _tell_model(checked, findings, is_repaired=is_repairing and failure is None)
    if failure is not None:
        raise failure
    return checks


def _rebuild(log: FileLog, host: PluginHost, plugins: list[str]) -> RunicornError | None:
    """Build read models again; why that could not be done, which is to be told after what was found."""
    from runicorn.errors import RunicornError
    from runicorn.projection.rebuild import rebuild
    from runicorn.root import bind

    try:
        bind(log.root, log.state_dir)
        with progress_bar("Replaying", log.size) as advance:
            rebuild(log.root, log.state_dir, host, plugins, advance)
    except RunicornError as error:
        return error
    return None


def _tell_model(checked: Checked, findings: Findings, *, is_repaired: bool) -> None:
    place = checked.file or f"read model of {checked.plugin}"
    repair = _REPLAY.format(checked.plugin)
    for remark in checked.remarks:
        findings.remark(place, None, f"not compared: {remark}")
    for reason in checked.damage:
        findings.defect(place, None, reason, repair, is_repaired=is_repaired, plugin=checked.plugin)
    for one in checked.differences:
        row = f"{one.table} {one.key}"
        if one.found is None:
            reason = f"{row}: the row is missing, the log says {one.replayed}"
        elif one.replayed is None:
            reason = f"{row}: says {one.found}, the log knows no such row"
        else:
            reason = f"{row}: says {one.found}, the log says {one.replayed}"
        findings.defect(
            place,
            None,
            reason,
            repair,
            is_repaired=is_repaired,
            plugin=checked.plugin,
            table=one.table,
            key=one.key,
            found=one.found,
            replayed=one.replayed,
        )
    if checked.more:
        reason = counted(checked.more, "more difference")
        findings.defect(place, None, reason, repair, is_repaired=is_repaired, plugin=checked.plugin)


def _models_summary(checks: list[Checked]) -> str:
    compared = [checked for checked in checks if checked.rows or not checked.is_sound]
    if not compared:
        return "No read models to compare with a replay."
    rows = sum(checked.rows for checked in compared)
    differences = sum(len(checked.differences) + checked.more for checked in compared)
    names = ", ".join(checked.plugin for checked in compared)
    found = counted(differences, "difference") if differences else "no differences"
    return f"Read models compared with a replay: {names}; {counted(rows, 'row')}, {found}."
