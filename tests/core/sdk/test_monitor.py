from __future__ import annotations

import logging
import math
import statistics
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.sdk.monitor import AlertRule, AnomalyDetector, MetricMonitor

NAN, INF = math.nan, math.inf


def alerts_of(rule: AlertRule, *values: object) -> list[str]:
    """What a monitor with this rule alone says about a series of values."""
    monitor = MetricMonitor()
    monitor.add_rule(rule)
    return [alert for value in values for alert in monitor.check_metrics({rule.metric_name: value})]


class TestRules:
    def test_messages_name_metric_value_condition_and_threshold(self):
        assert alerts_of(AlertRule("x", "gt", 4.0), 5.0) == ["⚠️ Alert: x=5.0 gt 4.0"]
        assert alerts_of(AlertRule("x", "nan"), NAN) == ["⚠️ Alert: x is NAN"]
        assert alerts_of(AlertRule("x", "inf"), -INF) == ["⚠️ Alert: x is INF"]

    @pytest.mark.parametrize(
        ("condition", "threshold", "violating", "quiet"),
        [
            ("gt", 1.0, [1.1, 2, INF, True + 1], [1.0, 1, 0.9, -INF, NAN, True]),
            ("lt", 1.0, [0.9, 0, -INF, False], [1.0, 1.1, INF, NAN]),
            ("eq", 1.0, [1.0, 1, 1 + 5e-10, True], [1.0 + 2e-9, INF, NAN]),
            ("eq", INF, [INF], [1.0, -INF, NAN]),
            ("ne", 1.0, [2, 1.0 + 2e-9, INF, NAN], [1.0, 1 - 5e-10]),
            ("nan", None, [NAN], [1.0, INF, 0]),
            ("inf", None, [INF, -INF, 10**400], [1.0, NAN, 1e308]),
        ],
    )
    def test_conditions(self, condition, threshold, violating, quiet):
        for value in violating:
            assert len(alerts_of(AlertRule("x", condition, threshold), value, value)) == 2
        for value in quiet:
            assert alerts_of(AlertRule("x", condition, threshold), value, value) == []

    def test_an_alert_needs_consecutive_violations_and_then_counts_again(self):
        rule = AlertRule("x", "gt", 1.0, consecutive_count=2)
        assert len(alerts_of(rule, 2.0)) == 0
        assert len(alerts_of(rule, 2.0, 0.5, 2.0)) == 0
        assert len(alerts_of(rule, 2.0, 2.0)) == 1
        assert len(alerts_of(rule, 2.0, 2.0, 2.0)) == 1
        assert len(alerts_of(rule, 2.0, 2.0, 2.0, 2.0)) == 2

    def test_a_step_without_the_metric_keeps_the_count(self):
        monitor = MetricMonitor()
        monitor.add_rule(AlertRule("x", "gt", 1.0, consecutive_count=2))
        monitor.check_metrics({"x": 2.0})
        monitor.check_metrics({"y": 0.0})
        assert len(monitor.check_metrics({"x": 2.0})) == 1

    def test_rules_on_one_metric_count_apart(self):
        monitor = MetricMonitor()
        monitor.add_rule(AlertRule("x", "gt", 1.0, consecutive_count=2))
        monitor.add_rule(AlertRule("x", "gt", 3.0))
        assert monitor.check_metrics({"x": 5.0}) == ["⚠️ Alert: x=5.0 gt 3.0"]
        assert monitor.check_metrics({"x": 2.0}) == ["⚠️ Alert: x=2.0 gt 1.0"]

    def test_one_rule_in_two_monitors_counts_for_each(self):
        rule = AlertRule("x", "gt", 1.0, consecutive_count=2)
        first, second = MetricMonitor(), MetricMonitor()
        first.add_rule(rule)
        second.add_rule(rule)
        assert first.check_metrics({"x": 2.0}) == second.check_metrics({"x": 2.0}) == []
        assert len(first.check_metrics({"x": 2.0})) == 1

    def test_a_rule_added_late_is_checked_from_then_on(self):
        monitor = MetricMonitor()
        assert monitor.check_metrics({"x": 5.0}) == []
        monitor.add_rule(AlertRule("x", "gt", 1.0))
        assert len(monitor.check_metrics({"x": 5.0})) == 1

    def test_default_rules_watch_losses(self):
        monitor = MetricMonitor()
        assert monitor.check_metrics({"loss": NAN}) == ["⚠️ Alert: loss is NAN"]
        assert monitor.check_metrics({"loss": INF}) == ["⚠️ Alert: loss is INF"]
        assert len(monitor.check_metrics({"train_loss": NAN, "val_loss": NAN, "test_loss": NAN})) == 3
        assert monitor.check_metrics({"train_loss": INF, "accuracy": NAN}) == []

    def test_the_callback_gets_message_and_value_and_may_log_itself(self):
        monitor, seen = MetricMonitor(), []

        def callback(message: str, value: float) -> None:
            seen.append((message, value))
            monitor.check_metrics({"alerts": len(seen)})

        monitor.add_rule(AlertRule("x", "lt", 0.0, callback=callback))
        monitor.check_metrics({"x": -1.0})
        assert seen == [("⚠️ Alert: x=-1.0 lt 0.0", -1.0)]
        assert monitor.get_statistics("alerts")["last"] == 1

    def test_what_a_callback_raises_is_logged(self, caplog):
        def callback(message: str, value: float) -> None:
            raise RuntimeError("pager is down")

        with caplog.at_level(logging.ERROR, "runicorn"):
            assert len(alerts_of(AlertRule("x", "nan", callback=callback), NAN)) == 1
        assert "pager is down" in caplog.text

    @pytest.mark.parametrize("bad", [("x", "above", 1.0), ("x", "gt"), ("x", "nan", None, 0)])
    def test_a_rule_that_could_never_fire_is_refused(self, bad):
        with pytest.raises(ValueError, match=r"condition|threshold|consecutive_count"):
            AlertRule(*bad)


class TestValues:
    def test_numpy_scalars_are_numbers(self):
        assert alerts_of(AlertRule("x", "gt", 1.0), np.float32(2.0)) == ["⚠️ Alert: x=2.0 gt 1.0"]
        assert alerts_of(AlertRule("x", "gt", 1.0), np.int64(2), np.float64(0.5), np.array(3.0)) != []

    @pytest.mark.parametrize("value", ["2", None, [2.0], {"a": 2.0}, b"2", np.array([1.0, 2.0]), object(), {2.0}])
    def test_other_values_are_ignored(self, value):
        assert alerts_of(AlertRule("x", "ne", 1.0), value) == []
        monitor = MetricMonitor()
        monitor.check_metrics({"x": value})
        assert monitor.get_statistics("x") == {}

    @given(st.lists(st.floats() | st.integers() | st.booleans() | st.none() | st.text()))
    def test_the_fast_path_agrees_with_the_rules(self, values):
        rules = [
            AlertRule("x", "gt", 10.0, 2),
            AlertRule("x", "lt", -1.0),
            AlertRule("x", "nan"),
            AlertRule("x", "inf", None, 3),
        ]
        monitor = MetricMonitor(window_size=len(values) + 1)
        for rule in rules:
            monitor.add_rule(rule)
        counts, expected, got = [0] * len(rules), [], []
        for value in values:
            got += monitor.check_metrics({"x": value})
            if not isinstance(value, (int, float)):
                continue
            for index, rule in enumerate(rules):
                counts[index] = counts[index] + 1 if rule.is_violated_by(value) else 0
                if counts[index] == rule.consecutive_count:
                    counts[index] = 0
                    expected.append(rule.message(value))
        assert got == expected
        numbers = [v for v in values if isinstance(v, (int, float))]
        assert monitor.get_statistics("x").get("count", len(numbers)) == len(numbers)


class TestStatistics:
    def test_are_over_the_finite_values_of_the_window(self):
        monitor = MetricMonitor(window_size=4)
        for value in (100.0, 1.0, NAN, 3, 2.0):
            monitor.check_metrics({"x": value})
        assert monitor.get_statistics("x") == {
            "mean": 2.0,
            "min": 1.0,
            "max": 3,
            "last": 2.0,
            "count": 4,
            "valid_count": 3,
        }

    def test_without_a_finite_value_say_which_kind_there_was(self):
        monitor = MetricMonitor()
        monitor.check_metrics({"x": NAN, "y": -INF})
        assert monitor.get_statistics("x") == {"has_nan": True, "has_inf": False}
        assert monitor.get_statistics("y") == {"has_nan": False, "has_inf": True}

    def test_of_an_unknown_metric_are_empty(self):
        assert MetricMonitor().get_statistics("loss") == {}

    def test_survive_values_whose_sum_overflows(self):
        monitor = MetricMonitor()
        for _ in range(2):
            monitor.check_metrics({"x": 1.5e308})
        assert monitor.get_statistics("x")["mean"] == 1.5e308

    def test_threads_lose_no_value_and_no_alert(self):
        monitor = MetricMonitor(window_size=2400)
        monitor.add_rule(AlertRule("x", "gt", 1.0, consecutive_count=3))
        alerts: list[str] = []

        def work() -> None:
            for _ in range(600):
                alerts.extend(monitor.check_metrics({"x": 2.0}))
                assert monitor.get_statistics("x")["max"] == 2.0

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monitor.get_statistics("x")["count"] == 2400
        assert len(alerts) == 800


class TestAnomalies:
    def test_values_beyond_sensitivity_times_deviation(self):
        detector, values = AnomalyDetector(sensitivity=2.0), [1.0, 2.0, 3.0]
        detector.update_baseline("x", values)
        limit = 2.0 + 2 * statistics.pstdev(values)
        assert not detector.is_anomaly("x", limit - 1e-6)
        assert detector.is_anomaly("x", limit + 1e-6)
        assert detector.is_anomaly("x", 4 - limit - 1e-6)

    def test_non_finite_values_always_unknown_metrics_never(self):
        detector = AnomalyDetector()
        assert detector.is_anomaly("x", NAN)
        assert detector.is_anomaly("x", -INF)
        assert not detector.is_anomaly("x", 1e9)

    def test_a_baseline_needs_two_finite_values(self):
        detector = AnomalyDetector()
        detector.update_baseline("x", [1.0, NAN, INF])
        assert not detector.is_anomaly("x", 100.0)
        detector.update_baseline("x", [1.0, 1.0, NAN])
        assert detector.is_anomaly("x", 100.0)
        detector.update_baseline("x", [])
        assert detector.is_anomaly("x", 100.0)

    def test_the_mean_of_a_constant_series_is_no_anomaly(self):
        detector = AnomalyDetector()
        detector.update_baseline("x", [0.1] * 10)
        assert not detector.is_anomaly("x", 0.1)
        assert detector.is_anomaly("x", 0.1001)

    def test_a_jump_of_the_mean_is_a_trend_anomaly(self):
        detector = AnomalyDetector()
        assert detector.detect_trend_anomaly([1.0] * 5 + [1.6] * 5)
        assert not detector.detect_trend_anomaly([1.0] * 5 + [1.4] * 5)
        assert detector.detect_trend_anomaly([-1.0] * 5 + [-1.6] * 5)

    def test_a_growing_variance_is_a_trend_anomaly(self):
        detector, calm = AnomalyDetector(), [0.9, 1.1, 0.9, 1.1, 1.0]
        assert detector.detect_trend_anomaly([*calm, 0.7, 1.3, 0.7, 1.3, 1.0])
        assert not detector.detect_trend_anomaly([*calm, *reversed(calm)])

    def test_a_constant_series_has_no_trend_anomaly(self):
        for value in (0.1, 0.3, 1e-9, 1e12, 0.0, -0.7):
            assert not AnomalyDetector().detect_trend_anomaly([value] * 10)

    def test_too_few_values_are_no_anomaly_a_nan_among_the_last_is(self):
        detector = AnomalyDetector()
        assert not detector.detect_trend_anomaly([1.0] * 4 + [9.0] * 5)
        assert not detector.detect_trend_anomaly([NAN] * 5 + [1.0] * 5)
        assert detector.detect_trend_anomaly([1.0] * 9 + [NAN])
        assert detector.detect_trend_anomaly([1.0, 1.0, 9.0, 9.0], window=2)
