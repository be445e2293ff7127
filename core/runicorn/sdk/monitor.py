"""Watching metrics while a run logs them: alert rules and anomaly detection.

`MetricMonitor.check_metrics` is part of every `log()`, so this module imports nothing heavy, and a metric that no rule
objects to costs about 0.1 µs: per metric, its rules are compiled into one interval of quiet values.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

logger = logging.getLogger("runicorn")

Condition = Literal["gt", "lt", "eq", "ne", "nan", "inf"]

_TOLERANCE = 1e-9
_LARGEST = sys.float_info.max


class AlertRule(msgspec.Struct):
    """When to raise an alert about one metric.

    `nan` and `inf` need no threshold; `eq` and `ne` compare with a tolerance of 1e-9. The alert is raised at the
    `consecutive_count`-th violation in a row. `callback(message, value)` runs in the logging thread; what it raises is
    logged. ValueError for an unknown condition, a missing threshold or a count below 1.
    """

    metric_name: str
    condition: Condition
    threshold: float | None = None
    consecutive_count: int = 1
    callback: Callable[[str, float], object] | None = None

    def __post_init__(self) -> None:
        if self.condition not in get_args(Condition):
            raise ValueError(f"condition must be one of {', '.join(get_args(Condition))}, got {self.condition!r}")
        if self.threshold is None and self.condition not in ("nan", "inf"):
            raise ValueError(f"condition {self.condition!r} needs a threshold")
        if self.consecutive_count < 1:
            raise ValueError(f"consecutive_count must be at least 1, got {self.consecutive_count}")

    def is_violated_by(self, value: float) -> bool:
        """Whether one value violates the rule, regardless of `consecutive_count`."""
        threshold = math.nan if self.threshold is None else self.threshold
        match self.condition:
            case "nan":
                return value != value
            case "inf":
                return value in (math.inf, -math.inf)
            case "gt":
                return value > threshold
            case "lt":
                return value < threshold
            case "eq":
                return _is_close(value, threshold)
            case "ne":
                return not _is_close(value, threshold)

    def message(self, value: float) -> str:
        """The text of the alert that `value` raises."""
        if self.condition in ("nan", "inf"):
            return f"⚠️ Alert: {self.metric_name} is {self.condition.upper()}"
        return f"⚠️ Alert: {self.metric_name}={value} {self.condition} {self.threshold}"


def default_rules() -> list[AlertRule]:
    """The rules that every new monitor has."""
    nan = [AlertRule(name, "nan") for name in ("loss", "train_loss", "val_loss", "test_loss")]
    return [*nan[:1], AlertRule("loss", "inf"), *nan[1:]]


class MetricMonitor:
    """Checks logged values against rules and keeps the last `window_size` values of each metric. Safe for threads."""

    def __init__(self, window_size: int = 100) -> None:
        self.window_size = window_size
        self._rules: dict[str, list[_CountedRule]] = {}
        self._windows: dict[str, deque[float]] = {}
        self._quiet: dict[str, tuple[float, float, Callable[[float], None]]] = {}
        """By metric: lowest and highest value that no rule needs to look at, and how to remember one."""
        self._lock = threading.RLock()  # a signal handler may log while its thread is in here
        for rule in default_rules():
            self.add_rule(rule)

    def add_rule(self, rule: AlertRule) -> None:
        """Check `rule` from now on. The same rule may be added twice or to several monitors; each counts for itself."""
        with self._lock:
            self._rules.setdefault(rule.metric_name, []).append(_CountedRule(rule))
            self._compile(rule.metric_name)

    def check_metrics(self, metrics: Mapping[str, object]) -> list[str]:
        """Remember the numbers among the values (booleans as they are) and return the alerts they raise, in rule order.

        A metric that is not in `metrics` keeps its count of consecutive violations.
        """
        alerts: list[str] = []
        quiet = self._quiet
        for name, value in metrics.items():
            kind = value.__class__
            if kind is float or kind is int:
                known = quiet.get(name)
                if known is not None:
                    low, high, remember = known
                    if low <= value <= high:  # type: ignore[operator]  # its class says that it is a number
                        remember(value)  # type: ignore[arg-type]  # its class says that it is a number
                        continue
            elif kind is str:
                continue
            number = _number(value)
            if number is not None:
                alerts += self._check(name, number)
        return alerts

    def get_statistics(self, name: str) -> dict[str, Any]:
        """What the window of a metric holds; `{}` if it was never logged.

        `mean`, `min`, `max`, `last` are over the finite values, `count` is the number of all values in the window and
        `valid_count` of the finite ones. Without a finite value: `has_nan`, `has_inf`.
        """
        values = list(self._windows.get(name, ()))
        if not values:
            return {}
        finite = _finite(values)
        if not finite:
            return {"has_nan": any(v != v for v in values), "has_inf": any(v == v for v in values)}
        return {
            "mean": _mean(finite),
            "min": min(finite),
            "max": max(finite),
            "last": finite[-1],
            "count": len(values),
            "valid_count": len(finite),
        }

    def _check(self, name: str, value: float) -> list[str]:
        with self._lock:
            window = self._windows.get(name)
            if window is None:
                window = self._windows[name] = deque(maxlen=self.window_size)
            window.append(value)
            violated = [counted.rule for counted in self._rules.get(name, ()) if counted.count(value)]
            self._compile(name)
        alerts: list[str] = []
        for rule in violated:  # without the lock: a callback may log metrics itself
            message = rule.message(value)
            alerts.append(message)
            if rule.callback is not None:
                try:
                    rule.callback(message, value)
                except Exception:
                    logger.exception("the callback of an alert rule for %r failed", name)
        return alerts

    def _compile(self, name: str) -> None:
        """Work out the values of a metric that change nothing but its window."""
        window = self._windows.get(name)
        if window is None:
            return
        low, high = -_LARGEST, _LARGEST
        for counted in self._rules.get(name, ()):
            rule = counted.rule
            if counted.violations or rule.condition in ("eq", "ne"):
                low, high = math.inf, -math.inf
            elif rule.threshold is not None and rule.condition == "gt":
                high = min(high, rule.threshold)
            elif rule.threshold is not None and rule.condition == "lt":
                low = max(low, rule.threshold)
        self._quiet[name] = low, high, window.append


class AnomalyDetector:
    """Finds values far from a baseline and sudden changes of a series.

    A value is an anomaly if it is more than `sensitivity` (population) standard deviations from the baseline's mean.
    """

    def __init__(self, sensitivity: float = 2.0) -> None:
        self.sensitivity = sensitivity
        self._baselines: dict[str, tuple[float, float]] = {}

    def update_baseline(self, name: str, values: Iterable[float]) -> None:
        """Replace a metric's baseline by mean and deviation of `values`; with less than 2 finite ones it stays."""
        finite = _finite(values)
        if len(finite) >= 2:
            mean = _mean(finite)
            self._baselines[name] = mean, math.sqrt(_variance(finite, mean))

    def is_anomaly(self, name: str, value: float) -> bool:
        """Whether `value` is far from the baseline. NaN and infinities always are, metrics without baseline never."""
        number = _number(value)
        if number is None or not math.isfinite(number):
            return number is not None
        if name not in self._baselines:
            return False
        mean, deviation = self._baselines[name]
        return abs(number - mean) > self.sensitivity * deviation + _noise(mean)

    def detect_trend_anomaly(self, values: Sequence[float], window: int = 5) -> bool:
        """Whether the last `window` values differ suddenly from the `window` values before them.

        That is: their mean differs by more than 50 %, their variance is more than 3 times larger, or one of them is
        not finite. Non-finite values before them are left out; False if fewer than `2 * window` values are given.
        """
        if window < 1 or len(values) < 2 * window:
            return False
        recent = _finite(values[-window:])
        before = _finite(values[-2 * window : -window])
        if len(recent) < window:
            return True
        if not before:
            return False
        mean, mean_before = _mean(recent), _mean(before)
        if abs(mean - mean_before) > 0.5 * abs(mean_before):
            return True
        # Rounding alone gives a constant series a tiny variance, three times which would be just as meaningless.
        noise = _noise(mean) ** 2
        return _variance(recent, mean) > 3 * _variance(before, mean_before) + noise


class _CountedRule:
    """A rule and how often in a row it was violated."""

    __slots__ = ("rule", "violations")

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.violations = 0

    def count(self, value: float) -> bool:
        """Count one value; whether it raises the alert, after which counting starts again."""
        if not self.rule.is_violated_by(value):
            self.violations = 0
            return False
        self.violations += 1
        if self.violations < self.rule.consecutive_count:
            return False
        self.violations = 0
        return True


def _number(value: object) -> float | None:
    """A number (also a NumPy or torch scalar) as Python has it; None for anything else."""
    if not isinstance(value, (int, float)):
        item = getattr(value, "item", None)
        if not callable(item):
            return None
        try:
            value = item()
        except Exception:  # an array of several elements, or whatever a foreign type does
            return None
        if not isinstance(value, (int, float)):
            return None
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return math.inf if value > 0 else -math.inf
    return value


def _is_close(value: float, threshold: float) -> bool:
    return value == threshold or abs(value - threshold) <= _TOLERANCE


def _finite(values: Iterable[float]) -> list[float]:
    numbers = map(_number, values)
    return [v for v in numbers if v is not None and math.isfinite(v)]


def _mean(finite: Sequence[float]) -> float:
    try:
        return math.fsum(finite) / len(finite)
    except OverflowError:
        return math.fsum(v / len(finite) for v in finite)


def _variance(finite: Sequence[float], mean: float) -> float:
    try:
        return math.fsum((v - mean) ** 2 for v in finite) / len(finite)
    except OverflowError:
        return math.inf


def _noise(mean: float) -> float:
    """What rounding may add to a difference from `mean`."""
    return 1e-12 * abs(mean)
