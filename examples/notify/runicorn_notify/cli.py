"""`runicorn notify`: is the webhook set up?"""

from __future__ import annotations

import os
import time

import click

from runicorn_notify.notifications import Notification
from runicorn_notify.settings import InvalidSettings, Settings
from runicorn_notify.webhook import NotAccepted, NotDelivered, deliver


@click.command("notify")
def send_test() -> None:
    """Send a test notification to the webhook that is configured."""
    settings = Settings.load()
    if settings is None:
        raise InvalidSettings("there is none yet; it needs at least `url` and `secret`")
    test = Notification(os.urandom(16).hex(), "test", time.time(), "", {})
    try:
        deliver(test, settings)
    except (NotAccepted, NotDelivered) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Sent: {test.id}")
