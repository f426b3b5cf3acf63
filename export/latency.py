"""How much quicker one network is than another, measured turn by turn in this process.

For decisions while a bundle is made, when its networks are bytes in memory: one thread of
OpenVINO, the network alone. What a device needs is measured by ``edge-bts bench``, on bundles, in
a fresh process a row, frame in to mask out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_bts.config import Settings
from edge_bts.errors import LatencyGateError

__all__ = ["LatencySettings", "Ratio", "check_latency", "median_interval", "time_ratio"]


class LatencySettings(Settings):
    """The latency gate and how times are taken, section ``[export.latency]``."""

    gate: bool = False  # off: an export may run on another machine than the target
    ratio: float = Field(1.0, gt=0)  # most that deployed / reference may be
    rounds: int = Field(25, ge=1)
    frames: int = Field(8, ge=1)  # of each network in its turn; its time is their median
    warmup: int = Field(10, ge=0)  # inferences of each before the first round


class Ratio(BaseModel):
    """Time of one network divided by that of another; below 1 the first is quicker.

    Attributes:
        median: Over the rounds.
        low: Lower end of the median's 95 % interval.
        high: Upper end.
        rounds: How many.
        first_ms: Median of the first network's round times.
        second_ms: The same of the second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    median: float
    low: float
    high: float
    rounds: int
    first_ms: float
    second_ms: float

    def __str__(self) -> str:
        """Return times and ratio with its interval."""
        return (
            f"{self.first_ms:.2f} against {self.second_ms:.2f} ms, {self.median:.3f} times as long "
            f"[{self.low:.3f} to {self.high:.3f}]"
        )


def time_ratio(
    first: Callable[[], Any], second: Callable[[], Any], settings: LatencySettings
) -> Ratio:
    """Time two networks in turn, so that what slows the machine slows both.

    The order changes from round to round: whoever comes second finds a warmer core.
    """
    for run in (first, second):
        for _ in range(settings.warmup):
            run()
    times: list[tuple[float, float]] = []
    for number in range(settings.rounds):
        if number % 2:
            late, early = _turn(second, settings.frames), _turn(first, settings.frames)
        else:
            early, late = _turn(first, settings.frames), _turn(second, settings.frames)
        times.append((early, late))
    firsts, seconds = np.asarray(times).T
    ratios = firsts / seconds
    low, high = median_interval(ratios.tolist())
    return Ratio(
        median=float(np.median(ratios)),
        low=low,
        high=high,
        rounds=settings.rounds,
        first_ms=float(np.median(firsts)),
        second_ms=float(np.median(seconds)),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median from order statistics (Conover 1999, chapter 3.2).

    The k-th lowest and k-th highest value, with the largest k for which each side holds at most
    2.5 % of Binomial(n, 1/2); the extremes where n is below 6. Nothing is assumed of the shape.
    """
    ordered, n = sorted(values), len(values)
    k, tail = 0, 0.5**n
    while tail <= 0.025:
        k += 1
        tail += math.comb(n, k) * 0.5**n
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def check_latency(ratio: Ratio, precision: str, settings: LatencySettings) -> None:
    """Refuse a model that is slower than its float reference on this machine.

    Raises:
        LatencyGateError: The ratio is above its limit.
    """
    if not ratio.median <= settings.ratio:
        raise LatencyGateError(
            f"Expected {precision} to take at most {settings.ratio:g} times as long as fp32 in "
            f"OpenVINO, one thread, on this machine, but it takes {ratio.median:.2f} times "
            f"[{ratio.low:.2f} to {ratio.high:.2f}] ({ratio.first_ms:.2f} against "
            f"{ratio.second_ms:.2f} ms), as on CPUs without INT8 instructions or with few INT8 "
            "layers; use --fp16 or --fp32 on this target; nothing was written."
        )


def _turn(run: Callable[[], Any], frames: int) -> float:
    """Return the median time of ``frames`` runs in ms."""
    times = []
    for _ in range(frames):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times))
