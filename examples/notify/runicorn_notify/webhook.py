"""Sending one notification: signed, to a checked address, again after a failure that may pass.

The signature is the one of Stripe: `Runicorn-Signature: t=<Unix seconds>,v1=<hex>`, the HMAC-SHA256 of `<t>.<body>` with the
secret. `Runicorn-Delivery` is the notification's id, the same in every attempt: a receiver takes what it has seen for done.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from runicorn_notify.addresses import ForbiddenAddress, resolve
from runicorn_notify.notifications import Notification
from runicorn_notify.settings import Settings

logger = logging.getLogger("runicorn.notify")

_LONGEST_PAUSE_S = 8.0
_PASSING = frozenset({408, 425, 429})
_MAX_ANSWER = 4096  # bytes of an answer that are read, for the sake of the receiver's log


class NotDelivered(Exception):
    """The receiver did not accept it now: to be sent again."""


class NotAccepted(Exception):
    """The receiver says that it will never accept it."""


def sign(secret: str, body: bytes, now: int) -> str:
    """The value of `Runicorn-Signature`."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def deliver(notification: Notification, settings: Settings, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Send it, up to `settings.attempts` times. NotDelivered, or NotAccepted after an answer such as 400 or 410."""
    body = notification.encode()
    problem = ""
    for attempt in range(settings.attempts):
        if attempt:
            pause(backoff(attempt, settings.first_retry_s))
        try:
            status = _post(body, notification.id, settings)
        except ForbiddenAddress as error:
            raise NotDelivered(str(error)) from None  # another attempt would find the same address
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__} at {urlsplit(settings.url).hostname}"
        else:
            if 200 <= status < 300:
                return
            problem = f"{urlsplit(settings.url).hostname} answered {status}"
            if 400 <= status < 500 and status not in _PASSING:
                raise NotAccepted(problem)
        logger.info("notification %s: %s", notification.id, problem)
    raise NotDelivered(f"{problem}, {settings.attempts} times")


def backoff(attempt: int, first_s: float) -> float:
    """Seconds before attempt number `attempt` (from 1): doubled each time, at most 8, the upper half of it by chance."""
    longest = min(_LONGEST_PAUSE_S, first_s * 2 ** (attempt - 1))
    return random.uniform(longest / 2, longest)


def _post(body: bytes, delivery: str, settings: Settings) -> int:
    """One attempt; the status of the answer. Redirects are answers like others: they are not followed."""
    url = urlsplit(settings.url)
    host, is_https = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if is_https else 80)
    deadline = time.monotonic() + settings.timeout_s
    connected = [_connect(resolve(host, port, settings.networks), port, deadline)]
    connection = http.client.HTTPConnection(host, port)
    # Whatever drips in byte by byte ends here, too.
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), lambda: _hang_up(connected[-1]))
    watchdog.daemon = True
    watchdog.start()
    try:
        if is_https:
            context = ssl.create_default_context()
            encrypted = context.wrap_socket(connected[-1], server_hostname=host, do_handshake_on_connect=False)
            connected.append(encrypted)
            encrypted.do_handshake()
        connection.sock = connected[-1]
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {
            "Host": url.netloc,
            "Content-Type": "application/json",
            "User-Agent": "runicorn-notify/1",
            "Runicorn-Delivery": delivery,
            "Runicorn-Signature": sign(settings.secret, body, int(time.time())),
            "Connection": "close",
        }
        connection.request("POST", target, body, headers)
        answer = connection.getresponse()
        answer.read(_MAX_ANSWER)
        answer.close()
        if time.monotonic() >= deadline:  # the line was cut, which looks like an end of the headers
            raise TimeoutError
        return answer.status
    finally:
        watchdog.cancel()
        connection.close()
        connected[-1].close()


def _connect(addresses: list[str], port: int, deadline: float) -> socket.socket:
    problem: OSError = OSError("no address")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            connected = socket.create_connection((address, port), timeout=left)
        except OSError as error:
            problem = error
        else:
            connected.settimeout(max(0.1, deadline - time.monotonic()))
            return connected
    raise problem


def _hang_up(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended just now
        connected.shutdown(socket.SHUT_RDWR)
