"""What a measurement must have to be VALID."""

from __future__ import annotations

from collections.abc import Sequence

from edge_bts.benchmarks.result import Row, TrainingRow
from edge_bts.benchmarks.settings import BenchSettings

__all__ = ["row_reasons", "run_reasons"]


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
