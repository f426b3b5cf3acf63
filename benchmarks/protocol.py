"""What a measurement must have to be VALID, and what its frames prove of the tail.

A percentile of the frames that were seen says little of the frames that will come. The bound used
here is that of the early stopping of MLPerf Inference (LoadGen, ``early_stopping.cc``; Inference
Rules, section "Early Stopping"): of n independent frames, the t slowest may be left out where
``P(Binomial(n, 1 - p) <= t) <= 1 - c``; what remains bounds the p-th percentile at confidence c.
LoadGen's own choices are kept: c = 0.99, no tolerance, at least one frame left out, hence at
least 64 frames for p90 and 662 for p99.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edge_bts.benchmarks.settings import BenchSettings

if TYPE_CHECKING:
    from edge_bts.benchmarks.device import State
    from edge_bts.benchmarks.result import Row, TrainingRow

__all__ = [
    "CONFIDENCE",
    "binomial_below",
    "device_reasons",
    "frames_needed",
    "interrupted_reasons",
    "longest_burst",
    "percentile_bound",
    "percentile_reasons",
    "rate_bound",
    "row_reasons",
    "run_reasons",
]

CONFIDENCE = 0.99


def binomial_below(most: int, n: int, rate: float) -> float:
    """Return the probability of at most ``most`` events in ``n`` trials of ``rate`` in (0, 1)."""
    for count, below in enumerate(_cumulated(n, rate)):
        if count == most:
            return min(below, 1.0)
    return 1.0


def _cumulated(n: int, rate: float) -> Iterator[float]:
    """Yield the probability of at most 0, 1, 2 ... n events."""
    log_odds = math.log(rate) - math.log1p(-rate)
    term = n * math.log1p(-rate)
    total = math.exp(term)
    yield total
    for k in range(n):
        term += math.log((n - k) / (k + 1)) + log_odds
        total += math.exp(term)
        yield total


def _left_out(n: int, percentile: float) -> int:
    """Return how many of the slowest frames may be left out; 0 where not one may."""
    rate = 1 - percentile / 100
    for count, below in enumerate(_cumulated(n, rate)):
        if below > 1 - CONFIDENCE:
            return max(0, count - 1)
    return n


def frames_needed(percentile: float) -> int:
    """Return the fewest frames that bound a percentile, in (0, 100)."""
    high = 2
    while not _left_out(high, percentile):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _left_out(middle, percentile) else (middle, high)
    return high


def percentile_bound(ordered: Sequence[float], percentile: float) -> float | None:
    """Return what the percentile is at most, at 99 % confidence; None: too few frames say.

    Args:
        ordered: Times in ascending order.
        percentile: In (0, 100).
    """
    left_out = _left_out(len(ordered), percentile)
    return float(ordered[len(ordered) - left_out]) if left_out else None


def rate_bound(events: int, n: int) -> float:
    """Return what a rate is at most, at 95 % confidence (Clopper-Pearson, one-sided).

    Not one event in n frames gives 3 / n, nearly.
    """
    if events >= n:
        return 1.0
    low, high = events / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if binomial_below(events, n, middle) <= 0.05 else (middle, high)
    return high


def longest_burst(missed: Iterable[bool]) -> int:
    """Return the longest run of misses one after another."""
    longest = current = 0
    for miss in missed:
        current = current + 1 if miss else 0
        longest = max(longest, current)
    return longest


def row_reasons(
    times_ms: Sequence[float], steady: bool, settings: BenchSettings, unit: str = "frames"
) -> list[str]:
    """Say what the protocol of a publishable figure asks and this row lacks."""
    asked = BenchSettings()
    reasons = []
    if len(times_ms) < asked.frames and sum(times_ms) < asked.seconds * 1e3 * 0.9:
        reasons.append(
            f"{len(times_ms)} {unit} in {sum(times_ms) / 1e3:.1f} s, where {asked.frames} {unit} "
            f"or {asked.seconds:g} s are asked"
        )
    if settings.warmup_seconds < asked.warmup_seconds:
        reasons.append(f"warmed up for less than {asked.warmup_seconds:g} s")
    if not steady:
        reasons.append("not steady after warm-up")
    return reasons


def percentile_reasons(frames: int, settings: BenchSettings) -> list[str]:
    """Say whether a row that was meant to have that many frames cannot bound the percentile.

    A row that is slow by itself is excused: its ``seconds`` are over first, and the figures that
    it has too few frames for are missing from its result.
    """
    needed = frames_needed(settings.percentile)
    if settings.frames >= needed or frames >= needed:
        return []
    return [
        f"{frames} frames bound no p{settings.percentile:g} at {CONFIDENCE:.0%} confidence, "
        f"{needed} do"
    ]


def device_reasons(
    states: Sequence[State], settings: BenchSettings, on_gpu: Collection[str] = ()
) -> list[str]:
    """Say what moved while the rows were measured: clocks, throttling, power mode.

    Args:
        states: In order.
        settings: How far a clock may fall.
        on_gpu: The rows that the GPU runs; in the turns of others its clock falls as it rests.
    """
    reasons = []
    at_work = [state for state in states if state.row in on_gpu]
    for name, asked in (("cpu_mhz", states), ("gpu_mhz", at_work)):
        clocks = sorted(c for state in asked if (c := getattr(state, name)) is not None)
        if not clocks:
            continue
        median = clocks[len(clocks) // 2]
        if clocks[0] < (1 - settings.clock_move) * median:
            reasons.append(
                f"the {name[:3].upper()} clock moved: {clocks[0]:.0f} MHz where its median is "
                f"{median:.0f} and {settings.clock_move:.0%} are allowed"
            )
    events = [state.throttled for state in states if state.throttled is not None]
    if events and events[-1] > events[0]:
        reasons.append(f"throttled {events[-1] - events[0]} times, as the device counts it")
    if causes := sorted({cause for state in states for cause in state.throttling}):
        reasons.append(f"throttled: {', '.join(causes)}")
    modes = list(dict.fromkeys(state.mode for state in states if state.mode is not None))
    if len(modes) > 1:
        reasons.append(f"the power mode changed: {', then '.join(modes)}")
    return reasons


def interrupted_reasons(interrupted: tuple[int, int] | None) -> list[str]:
    """Say that a run was ended before its time."""
    if interrupted is None:
        return []
    return [f"interrupted after {interrupted[0]} of {interrupted[1]} rounds"]


def run_reasons(
    rows: Sequence[Row] | Sequence[TrainingRow], foreign: float, settings: BenchSettings
) -> list[str]:
    """Gather what is against the rows, and say whether others used too much of the machine."""
    reasons = [f"{row.label}: {reason}" for row in rows for reason in row.reasons]
    if foreign > settings.foreign_load:
        reasons.append(
            f"other processes used {foreign:.0%} of the machine, where "
            f"{settings.foreign_load:.0%} are allowed"
        )
    return reasons
