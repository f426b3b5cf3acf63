"""Ratios of times, on a clock that the test moves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from edge_bts.errors import LatencyGateError
from edge_bts.export.latency import (
    LatencySettings,
    Ratio,
    check_latency,
    median_interval,
    time_ratio,
)


@pytest.mark.parametrize("n", [6, 7, 15, 25, 100])
def test_interval_of_the_median_covers_95_percent(n: int) -> None:
    """Its order statistics are the innermost whose coverage, by the binomial, is at least 95 %."""
    low, high = median_interval(list(np.random.default_rng(n).permutation(n).astype(float)))
    k = int(low) + 1  # the k-th lowest of 0, 1, ..., n - 1
    assert high == n - k
    assert 1 - 2 * binom.cdf(k - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(k, n, 0.5) < 0.95


def test_few_values_give_their_extremes() -> None:
    """Five values cannot cover 95 %; all that can be said is where they lie."""
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_a_drifting_machine_does_not_change_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gets slower all the time slows both, and the ratio stays."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def takes(seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds * math.exp(0.002 * calls[0])
            calls[0] += 1

        return run

    calls = [0]
    ratio = time_ratio(takes(0.003), takes(0.006), LatencySettings(rounds=24, frames=4))
    assert ratio.median == pytest.approx(0.5, rel=0.01)
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.first_ms > 3
    assert "0.5" in str(ratio)


@pytest.mark.parametrize(("median", "fails"), [(1.0, False), (1.01, True), (math.nan, True)])
def test_a_slower_model_is_refused(median: float, fails: bool) -> None:
    """At its limit a model passes; beyond it the error says what to use instead, code 5."""
    ratio = Ratio(median=median, low=0.9, high=1.2, rounds=25, first_ms=6.0, second_ms=5.9)
    if not fails:
        check_latency(ratio, "int8", LatencySettings())
        return
    with pytest.raises(LatencyGateError, match="use --fp16 or --fp32 on this target") as caught:
        check_latency(ratio, "int8", LatencySettings())
    assert caught.value.exit_code == 5
