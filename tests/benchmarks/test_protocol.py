"""What a measurement proves: bounds of percentiles and rates, misses, and what makes it INVALID."""

from __future__ import annotations

import numpy as np
import pytest

from edge_bts.benchmarks.device import State
from edge_bts.benchmarks.protocol import (
    binomial_below,
    device_reasons,
    frames_needed,
    longest_burst,
    percentile_bound,
    percentile_reasons,
    rate_bound,
)
from edge_bts.benchmarks.result import deadline, latency
from edge_bts.benchmarks.settings import BenchSettings


def test_binomial_is_that_of_scipy() -> None:
    """The sum of the binomial distribution agrees with SciPy's incomplete beta function."""
    stats = pytest.importorskip("scipy.stats")
    for n, rate in ((64, 0.1), (662, 0.01), (6636, 0.001), (20_000, 0.5)):
        for most in (0, 1, 5, n // 3):
            assert binomial_below(most, n, rate) == pytest.approx(
                stats.binom.cdf(most, n, rate), rel=1e-9, abs=1e-15
            )


@pytest.mark.parametrize(("percentile", "frames"), [(90.0, 64), (99.0, 662)])
def test_frames_needed_are_those_of_mlperf(percentile: float, frames: int) -> None:
    """MLPerf Inference asks at least 64 queries for p90 and 662 for p99."""
    assert frames_needed(percentile) == frames


def test_bound_covers_the_percentile() -> None:
    """In 99 of 100 samples the bound of p90 lies above the true p90."""
    random = np.random.default_rng(0)
    truth = -np.log(0.1)  # of the exponential distribution
    bounds: list[float] = []
    for _ in range(2000):
        bound = percentile_bound(np.sort(random.exponential(size=200)).tolist(), 90.0)
        assert bound is not None
        bounds.append(bound)
    assert np.mean(np.array(bounds) >= truth) >= 0.985
    assert np.mean(bounds) < 2 * truth  # and it is a bound of use, not the maximum of all


def test_too_few_frames_bound_nothing() -> None:
    """Below the least count there is no bound, and the summary lacks it."""
    assert percentile_bound(list(range(63)), 90.0) is None
    assert percentile_bound(list(range(64)), 90.0) == 63
    assert set(latency([float(n) for n in range(100)]).at_most) == {"p50", "p90"}
    assert "p99" in latency([float(n) for n in range(662)]).at_most


def test_many_frames_are_bounded_at_once() -> None:
    """Half a million frames bound their median close above it, in one pass over the tail."""
    times = np.linspace(0, 1, 500_000).tolist()
    bound = percentile_bound(times, 50.0)
    assert bound is not None
    assert 0.5 < bound < 0.503


def test_percentile_asked_must_be_bounded() -> None:
    """Who asks for p99.9 of 1000 frames is told how many it takes; a slow row is excused."""
    asked = BenchSettings(percentile=99.9)
    assert percentile_reasons(1000, asked) == [
        f"1000 frames bound no p99.9 at 99% confidence, {frames_needed(99.9)} do"
    ]
    assert percentile_reasons(45, BenchSettings()) == []  # 60 s of it are over
    assert percentile_reasons(7000, asked) == []


def test_rate_bound_is_clopper_pearson() -> None:
    """No event in n frames bounds the rate by 3 / n, and some by SciPy's beta quantile."""
    stats = pytest.importorskip("scipy.stats")
    assert rate_bound(0, 1000) == pytest.approx(3 / 1000, rel=5e-3)
    for events, n in ((0, 50), (3, 100), (40, 60)):
        expected = stats.beta.ppf(0.95, events + 1, n - events)
        assert rate_bound(events, n) == pytest.approx(expected, rel=1e-6)
    assert rate_bound(5, 5) == 1.0


def test_misses_count_late_and_skipped_frames() -> None:
    """A frame that was skipped is a miss and lengthens the burst of misses beside it."""
    found = deadline([10, 40, 50, 10, 34], [0, 0, 2, 0, 0], limit_ms=33.0)
    # ok, late, skipped, skipped, late, ok, late
    assert (found.arrived, found.misses, found.skipped, found.longest_burst) == (7, 5, 2, 4)
    assert found.late_ms == 17
    assert found.age.max == 50
    assert longest_burst([]) == 0


def states(**series: list[object]) -> list[State]:
    """States of a device, a field's values in order."""
    count = len(next(iter(series.values())))
    return [
        State(at_s=float(n), row="r", **{name: values[n] for name, values in series.items()})
        for n in range(count)
    ]


def test_a_device_that_keeps_still_has_nothing_against_it() -> None:
    """Unknown clocks, and clocks that differ by less than the share allowed, are no reason."""
    assert device_reasons(states(cpu_mhz=[None, None]), BenchSettings()) == []
    assert device_reasons([], BenchSettings()) == []
    still = states(cpu_mhz=[3000.0, 2900.0, 3000.0], throttled=[7, 7, 7], mode=["p", "p", "p"])
    assert device_reasons(still, BenchSettings()) == []


def test_a_gpu_may_rest_in_the_turns_of_others() -> None:
    """Its clock counts where it computes: a CPU row lets it fall to its idle clock."""
    rested = [
        State(at_s=0.0, row="gpu", gpu_mhz=1980.0),
        State(at_s=1.0, row="cpu", gpu_mhz=345.0),
        State(at_s=2.0, row="gpu", gpu_mhz=1980.0),
    ]
    assert device_reasons(rested, BenchSettings(), on_gpu={"gpu"}) == []
    assert len(device_reasons(rested, BenchSettings(), on_gpu={"gpu", "cpu"})) == 1


def test_what_moved_is_named() -> None:
    """A clock that fell, a slow-down that was counted or told, and another governor are reasons."""
    moved = states(
        cpu_mhz=[3000.0, 3000.0, 2000.0],
        gpu_mhz=[1300.0, 1300.0, 1000.0],
        throttled=[7, 8, 9],
        throttling=[(), ("power cap",), ()],
        mode=["performance", "performance", "powersave"],
    )
    assert device_reasons(moved, BenchSettings(), on_gpu={"r"}) == [
        "the CPU clock moved: 2000 MHz where its median is 3000 and 5% are allowed",
        "the GPU clock moved: 1000 MHz where its median is 1300 and 5% are allowed",
        "throttled 2 times, as the device counts it",
        "throttled: power cap",
        "the power mode changed: performance, then powersave",
    ]
