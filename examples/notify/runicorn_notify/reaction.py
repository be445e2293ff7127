"""After the commit: send what the settings ask for.

The server comes again with the same events after an exception, and after a crash: its cursor moves when this returns. So
everything is sent at least once; what is known to be sent is not sent again, and what is sent twice has the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from runicorn.plugin import LocatedEvent
from runicorn_notify.notifications import notifications
from runicorn_notify.sent import Sent
from runicorn_notify.settings import Settings
from runicorn_notify.webhook import NotAccepted, deliver

logger = logging.getLogger("runicorn.notify")


def notify(events: Sequence[LocatedEvent], directory: Path) -> None:
    """Send all notifications of these events. An exception says that some are left."""
    settings = Settings.load()
    if settings is None:
        return
    wanted = list(notifications(events, settings))
    if not wanted:
        return
    with Sent.open(directory) as sent:
        for notification in wanted:
            if notification.id in sent:
                continue
            try:
                deliver(notification, settings)
            except NotAccepted as error:
                logger.error("notification %s of %s is given up: %s", notification.id, notification.run, error)
            sent.add(notification.id)
