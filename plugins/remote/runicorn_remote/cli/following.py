"""`runicorn remote push --follow`, which `init(…, remote=…)` starts: a process that nobody may be looking at."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from runicorn_remote.cli.login import LoginOptions, login_to

if TYPE_CHECKING:
    from runicorn.plugin import RemotePlace
    from runicorn_remote.push.following import Follower
    from runicorn_remote.push.pushing import PushStats


def follow_run(place: RemotePlace, login: LoginOptions, root: Path, key: str, log_file: Path | None) -> PushStats:
    """Push a run until it has ended; the first SIGTERM or Ctrl-C has it push once more, and end.

    A ClickException says what went wrong, and `log_file` (if any) keeps it.
    """
    from runicorn.plugin import Conflict, RunicornError
    from runicorn_remote.errors import ConnectFailed
    from runicorn_remote.push.following import Follower

    with _told_to(log_file) as logger:
        try:
            follower = Follower(login_to(place.host, login).connect, root, place.path, key)
            _stop_on_signals(follower)
            follower.follow()
        except Conflict as conflict:
            logger.error("%s", conflict)
            raise click.exceptions.Exit(1) from conflict
        except RunicornError as error:
            logger.error("%s", error.for_people if isinstance(error, ConnectFailed) else error)
            raise click.exceptions.Exit(1) from error
        except click.ClickException as error:
            logger.error("%s", error.format_message())
            raise click.exceptions.Exit(1) from error
        except Exception:  # a bug of ours, or a disk of this machine: kept where somebody can find it
            logger.exception("the push failed")
            raise click.exceptions.Exit(1) from None
    if log_file is not None:
        log_file.unlink(missing_ok=True)
    return follower.stats


def _stop_on_signals(follower: Follower) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        follower.stop()
        signal.signal(number, signal.SIG_DFL)  # once more means now

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


class _OneLine(logging.Formatter):
    """Without tracebacks: for whoever shows it to people."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - the name is the library's
        return ""


@contextlib.contextmanager
def _told_to(log_file: Path | None) -> Generator[logging.Logger]:
    """What goes wrong is told on standard error, and kept in a file that the first such line makes."""
    logger = logging.getLogger("runicorn.remote")
    logger.propagate = False
    on_screen = logging.StreamHandler(sys.stderr)
    handlers: list[logging.Handler] = [on_screen]
    if log_file is not None:
        # Whoever started us may be gone, or live on without reading: neither ends or stops the push.
        logging.raiseExceptions = False
        os.set_blocking(sys.stderr.fileno(), False)
        on_screen.setFormatter(_OneLine())
        log_file.parent.mkdir(parents=True, exist_ok=True)
        kept = logging.FileHandler(log_file, delay=True, encoding="utf-8", errors="replace")
        kept.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handlers.append(kept)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield logger
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()
