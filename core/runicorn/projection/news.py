"""Following the journal of commits: what it holds, then every commit, without a gap that goes unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from runicorn.projection.client import ProjectorClient
from runicorn.projection.journal import recorded
from runicorn.projection.wire import News


async def follow_news(client: ProjectorClient, state_dir: Path) -> AsyncGenerator[list[News]]:
    """What the journal holds, then every commit from then on. Empty or not, the first list comes as soon as there is one.

    Within an epoch no commit is missing, except before one that is marked `after_gap`.
    """
    with client.subscribed() as notices:
        found = await asyncio.to_thread(recorded, state_dir)
        if found is not None:
            epoch, news = found
            last = news[-1] if news else News(epoch, 0)
            yield news or [News(epoch, 0, after_gap=True)]
        else:
            last = News("", 0)
        while True:
            told = (await notices.get()).news
            if told is None or (told.epoch == last.epoch and told.number <= last.number):
                continue
            if told.epoch == last.epoch and told.number == last.number + 1 and told.ranges:
                news = [told]
            else:
                news = await asyncio.to_thread(_missed, state_dir, last, told)
            last = news[-1]
            yield news


def _missed(state_dir: Path, last: News, told: News) -> list[News]:
    """The commits after `last` up to at least `told`, from the journal where that has them."""
    epoch, news = recorded(state_dir) or ("", [])
    later = [one for one in news if one.number > last.number] if epoch == last.epoch else news
    if epoch != told.epoch or not later or later[-1].number < told.number:
        return [News(told.epoch, told.number, told.ranges, after_gap=True)]
    if epoch != last.epoch or later[0].number != last.number + 1:
        later[0] = News(epoch, later[0].number, later[0].ranges, after_gap=True)
    return later
