"""Progress bars on a terminal, and nothing where output is piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    title: str, total: int | Callable[[], int] | None, *, in_bytes: bool = True
) -> Generator[Callable[[int], None]]:
    """A progress bar on standard error; nothing when that is not a terminal. The function is told what was done.

    `total` None: nobody knows how much it will be. A function is called only if there is a bar.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    total = total() if callable(total) else total
    console = Console(stderr=True)
    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    columns = (TextColumn(title), BarColumn(), *amounts, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None if total is None else max(total, 1))
        yield lambda count: bar.advance(task, count)
