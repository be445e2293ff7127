"""Counting requests: a sliding log per client and route.

A request is counted when it is let through, whatever its answer is; a rejected one is not. Counts are kept in the memory
of one worker.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import ip_address

import msgspec

from runicorn.server.rate_limit_table import Limit, LimitTable

logger = logging.getLogger("runicorn.server")

MAX_BUCKETS = 10_000
"""Live buckets; beyond that the one that was idle longest is dropped."""

_BURST_WINDOW_S = 1.0


class Verdict(msgspec.Struct, frozen=True):
    """What a client is told about its bucket."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    """Whole seconds until the oldest counted request leaves the window; also how long a rejected client should wait."""


class _Bucket:
    __slots__ = ("limit", "logged", "times")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.times: deque[float] = deque()
        self.logged = -math.inf


class RateLimiter:
    """Decides about requests. `enabled` None leaves the choice to the settings of the table."""

    def __init__(
        self, table: LimitTable, *, enabled: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.table = table
        self.enabled = table.settings.enable_rate_limiting if enabled is None else enabled
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def hit(self, client: str, route: str, limit: Limit) -> Verdict:
        """Count one request of `client` to `route`, unless that would be too many."""
        if not self.enabled or (self.table.settings.whitelist_localhost and is_loopback(client)):
            return Verdict(True, limit.max_requests, limit.max_requests, limit.window_seconds)
        now = self._clock()
        bucket = self._bucket((client, route), limit, now)
        times = bucket.times
        if len(times) >= limit.max_requests:
            return self._reject(client, route, bucket, now, _seconds_left(times[0], limit, now))
        if limit.burst_size is not None and _newer_than(times, now - _BURST_WINDOW_S) >= limit.burst_size:
            return self._reject(client, route, bucket, now, 1)
        times.append(now)
        return Verdict(True, limit.max_requests, limit.max_requests - len(times), _seconds_left(times[0], limit, now))

    def peek(self, client: str, route: str, limit: Limit) -> Verdict:
        """What a client would be told, without counting."""
        bucket = self._buckets.get((client, route)) if self.enabled else None
        if bucket is None:
            return Verdict(True, limit.max_requests, limit.max_requests, limit.window_seconds)
        now = self._clock()
        _forget(bucket, now)
        reset = _seconds_left(bucket.times[0], limit, now) if bucket.times else limit.window_seconds
        return Verdict(True, limit.max_requests, max(limit.max_requests - len(bucket.times), 0), reset)

    def _bucket(self, key: tuple[str, str], limit: Limit, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            self._evict(now)
            bucket = self._buckets[key] = _Bucket(limit)
        else:
            self._buckets.move_to_end(key)
            _forget(bucket, now)
        return bucket

    def _evict(self, now: float) -> None:
        while self._buckets:
            key, oldest = next(iter(self._buckets.items()))
            is_idle = not oldest.times or oldest.times[-1] <= now - oldest.limit.window_seconds
            if not is_idle and len(self._buckets) < MAX_BUCKETS:
                return
            del self._buckets[key]

    def _reject(self, client: str, route: str, bucket: _Bucket, now: float, wait: int) -> Verdict:
        if self.table.settings.log_violations and now - bucket.logged >= bucket.limit.window_seconds:
            bucket.logged = now
            logger.warning("rate limit: %s exceeded %d requests to %s", client, bucket.limit.max_requests, route)
        return Verdict(False, bucket.limit.max_requests, 0, wait)


def is_loopback(client: str) -> bool:
    """Whether an address, as `client_key` gives it, is this machine."""
    try:
        return ip_address(client.partition("/")[0]).is_loopback
    except ValueError:
        return False


def _forget(bucket: _Bucket, now: float) -> None:
    oldest = now - bucket.limit.window_seconds
    while bucket.times and bucket.times[0] <= oldest:
        bucket.times.popleft()


def _newer_than(times: deque[float], start: float) -> int:
    count = 0
    for moment in reversed(times):
        if moment <= start:
            break
        count += 1
    return count


def _seconds_left(oldest: float, limit: Limit, now: float) -> int:
    return min(max(math.ceil(oldest + limit.window_seconds - now), 1), limit.window_seconds)
