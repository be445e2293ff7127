"""How much is measured: `tiny` for tests and CI, `small` while working, `full` for the figures that budgets speak of."""

from __future__ import annotations

import msgspec

EVENTS_PER_SHORT_RUN = 25
STEPS_PER_SECOND = 200


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of runs, events, calls and requests."""

    name: str
    listed_runs: int
    """Runs in the store that lists are read from; as 0.4.0 wrote them."""
    stepped_points: int
    """Points of the run whose metrics are read by step."""
    plotted_events: int
    """Events of the run whose curves are drawn."""
    long_runs: int
    long_events: int
    """Events of each long run; every event has four metrics."""
    short_runs: int
    """Runs of 25 events with four metrics each."""
    log_calls: int
    lifecycles: int
    """Runs that are begun, logged to once, and finished."""
    requests: int
    """Requests for one latency figure; large answers are asked for less often."""
    load_s: float
    """Seconds of requests by many clients at once."""
    rounds: int
    """Repetitions of what takes long, alternating between ours and the baseline."""
    fresh_rounds: int
    fresh_steps: int
    """Steps of a training in each round, at 200 a second."""
    endings: int
    """Runs that are begun and ended while the list is polled."""
    baseline_events: int
    """Events that the baseline of replay reads; its rate does not depend on how many there are."""
    log_mb: int
    """Megabytes of logs that are searched."""
    artifact_files: int
    artifact_mb: int
    """Mebibytes of each of these files, which are saved as one version."""
    small_files: int
    """Files of one kibibyte that are saved as one version."""
    lineage_runs: int
    """Runs that use the same data set, and save a model each."""
    remote_runs: int
    """Runs of five files each on another machine."""
    stalled_s: float
    """Seconds of requests while another machine does not answer."""


SIZES = {
    size.name: size
    for size in (
        Size(
            name="tiny",
            listed_runs=100,
            stepped_points=2_000,
            plotted_events=3_000,
            long_runs=2,
            long_events=2_500,
            short_runs=100,
            log_calls=1_000,
            lifecycles=10,
            requests=50,
            load_s=0.3,
            rounds=2,
            fresh_rounds=1,
            fresh_steps=100,
            endings=3,
            baseline_events=2_000,
            log_mb=1,
            artifact_files=2,
            artifact_mb=1,
            small_files=100,
            lineage_runs=5,
            remote_runs=20,
            stalled_s=0.3,
        ),
        Size(
            name="small",
            listed_runs=2_000,
            stepped_points=200_000,
            plotted_events=200_000,
            long_runs=4,
            long_events=50_000,
            short_runs=4_000,
            log_calls=20_000,
            lifecycles=100,
            requests=1_000,
            load_s=2.0,
            rounds=5,
            fresh_rounds=3,
            fresh_steps=400,
            endings=20,
            baseline_events=20_000,
            log_mb=20,
            artifact_files=4,
            artifact_mb=25,
            small_files=1_000,
            lineage_runs=300,
            remote_runs=300,
            stalled_s=1.0,
        ),
        Size(
            name="full",
            listed_runs=10_000,
            stepped_points=200_000,
            plotted_events=1_000_000,
            long_runs=10,
            long_events=250_000,
            short_runs=100_000,
            log_calls=200_000,
            lifecycles=500,
            requests=3_000,
            load_s=5.0,
            rounds=9,
            fresh_rounds=15,
            fresh_steps=400,
            endings=50,
            baseline_events=200_000,
            log_mb=100,
            artifact_files=10,
            artifact_mb=100,
            small_files=10_000,
            lineage_runs=10_000,
            remote_runs=2_000,
            stalled_s=5.0,
        ),
    )
}
