"""What changed between two benchmarks, with intervals, and whether that is a regression.

The rows of two runs are not interleaved, so a machine that was slower on the other day shows as a
slower network: interval and verdict speak of the runs, and :func:`compare_results` refuses what
was not measured under one protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts.benchmarks.result import BenchResult, Deadline, Row
from edge_bts.benchmarks.settings import RegressSettings
from edge_bts.errors import InputError, MeasurementError

__all__ = ["BenchComparison", "Quotient", "RowChange", "compare_results", "render_comparison"]

_RESAMPLES = 2000
_PROTOCOL = (
    *("threads", "fps", "limit_ms", "idle_ms", "burst", "co_load"),
    *("height", "width", "seed", "lead_in_ms"),
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quotient(_Model):
    """After by before: above 1 is slower. A 95 % bootstrap interval over the rounds of both."""

    value: float
    low: float
    high: float


class RowChange(_Model):
    """One row that both have.

    ``worse`` names the quantities that grew by more than their share.
    """

    label: str
    engine_ms: tuple[float, float]
    frame_ms: tuple[float, float]
    frame_p99_ms: tuple[float | None, float | None]
    peak_rss_bytes: tuple[int, int]
    file_bytes: tuple[int, int]
    misses: tuple[int | None, int | None]
    engine: Quotient
    frame: Quotient
    worse: list[str]


class BenchComparison(_Model):
    """Two results; ``unlike`` says what besides the protocol was not the same."""

    format: Literal["edge-bts comparison of benchmarks 1"] = "edge-bts comparison of benchmarks 1"
    before: str
    after: str
    shares: RegressSettings
    unlike: list[str]
    rows: list[RowChange]
    only_before: list[str]
    only_after: list[str]

    @property
    def regressions(self) -> list[str]:
        """What got worse, a phrase each; a row that is gone is worse."""
        worse = [f"{row.label}: {what}" for row in self.rows for what in row.worse]
        return worse + [f"{label}: not measured any more" for label in self.only_before]


def compare_results(
    before: BenchResult,
    after: BenchResult,
    *,
    shares: RegressSettings | None = None,
    gate: bool = False,
) -> BenchComparison:
    """Compare row by row.

    A median is worse where its whole interval is above one plus its share, memory and files where
    they grew by more than theirs, misses where their rate exceeds what the run before leaves
    possible.

    Args:
        before: The older one.
        after: The newer one.
        shares: What is borne of each quantity; None: the defaults.
        gate: Whether something is decided by it: then both must be VALID and of one machine.

    Raises:
        InputError: Another protocol, or no row in common; with ``gate`` also: another machine.
        MeasurementError: With ``gate``: a result that is not VALID.
    """
    shares = shares or RegressSettings()
    _refuse_unlike(before, after)
    unlike = _unlike(before, after)
    if gate:
        _check_gate(before, after, unlike)
    first, second = ({row.label: row for row in r.rows} for r in (before, after))
    both = [label for label in first if label in second]
    if not both:
        raise InputError(
            f"Expected rows that both results have, but one has {', '.join(first)} and the other "
            f"{', '.join(second)}; measure the same networks."
        )
    return BenchComparison(
        before=_identity(before),
        after=_identity(after),
        shares=shares,
        unlike=unlike,
        rows=[_change(first[label], second[label], shares) for label in both],
        only_before=[label for label in first if label not in second],
        only_after=[label for label in second if label not in first],
    )


def _refuse_unlike(before: BenchResult, after: BenchResult) -> None:
    for name in _PROTOCOL:
        one, other = (getattr(result.settings, name) for result in (before, after))
        if one != other:
            raise InputError(
                f"Expected two benchmarks of one protocol, but {name} is {one} in the first and "
                f"{other} in the second; measure one of them again."
            )


def _unlike(before: BenchResult, after: BenchResult) -> list[str]:
    found = []
    for name in ("cpu", "logical_cores", "system"):
        one, other = (getattr(result.machine, name) for result in (before, after))
        if one != other:
            found.append(f"{name}: {one}, then {other}")
    one, other = before.machine.device.power_mode, after.machine.device.power_mode
    if one != other:
        found.append(f"power mode: {one}, then {other}")
    versions = before.machine.versions, after.machine.versions
    found += [
        f"{name}: {versions[0].get(name)}, then {versions[1].get(name)}"
        for name in sorted(versions[0].keys() | versions[1].keys())
        if versions[0].get(name) != versions[1].get(name)
    ]
    return found


def _check_gate(before: BenchResult, after: BenchResult, unlike: Sequence[str]) -> None:
    machine = [what for what in unlike if what.startswith(("cpu", "logical", "power mode"))]
    if machine:
        raise InputError(
            f"Expected two benchmarks of one machine for a gate, but got {'; '.join(machine)}; "
            "leave out --gate to look at them."
        )
    for name, result in (("first", before), ("second", after)):
        if result.verdict != "VALID":
            raise MeasurementError(
                f"Expected VALID benchmarks for a gate, but the {name} is {result.verdict}"
                f"{f' ({result.reasons[0]})' if result.reasons else ''}; measure it again."
            )


def _change(before: Row, after: Row, shares: RegressSettings) -> RowChange:
    engine = _quotient(before.rounds_engine_p50_ms, after.rounds_engine_p50_ms)
    frame = _quotient(before.rounds_frame_p50_ms, after.rounds_frame_p50_ms)
    worse = [
        f"{name} {found.value:.2f} times the time ({found.low:.2f} to {found.high:.2f}), where "
        f"{1 + share:g} is borne"
        for name, found, share in (
            ("engine", engine, shares.engine),
            ("frame", frame, shares.frame),
        )
        if found.low > 1 + share
    ]
    sizes = (
        ("memory", before.peak_rss_bytes, after.peak_rss_bytes, shares.memory),
        ("file", before.file_bytes, after.file_bytes, shares.file),
    )
    worse += [
        f"{name} {new / old:.2f} times as much, where {1 + share:g} is borne"
        for name, old, new, share in sizes
        if new > (1 + share) * old
    ]
    if _more_misses(before.deadline, after.deadline):
        worse.append("more misses")
    return RowChange(
        label=before.label,
        engine_ms=(before.engine.p50, after.engine.p50),
        frame_ms=(before.frame.p50, after.frame.p50),
        frame_p99_ms=(before.frame.p99, after.frame.p99),
        peak_rss_bytes=(before.peak_rss_bytes, after.peak_rss_bytes),
        file_bytes=(before.file_bytes, after.file_bytes),
        misses=(
            before.deadline.misses if before.deadline else None,
            after.deadline.misses if after.deadline else None,
        ),
        engine=engine,
        frame=frame,
        worse=worse,
    )


def _more_misses(before: Deadline | None, after: Deadline | None) -> bool:
    if before is None or after is None:
        return False
    return after.misses / after.arrived > before.rate_at_most


def _quotient(before: Sequence[float], after: Sequence[float]) -> Quotient:
    """Divide the medians of two series of rounds, and bootstrap both."""
    random = np.random.default_rng(0)
    one, other = np.asarray(before, np.float64), np.asarray(after, np.float64)

    def medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = random.integers(len(values), size=(_RESAMPLES, len(values)))
        return np.asarray(np.median(values[drawn], axis=1))

    quotients = medians(other) / medians(one)
    low, high = np.quantile(quotients, (0.025, 0.975))
    return Quotient(
        value=float(np.median(other) / np.median(one)), low=float(low), high=float(high)
    )


def _identity(result: BenchResult) -> str:
    names = ", ".join(subject.name for subject in result.subjects)
    return f"{names}, {result.date}, {result.verdict}"


def render_comparison(comparison: BenchComparison) -> str:
    """Return a page that draws each row's quotient with its interval."""
    from html import escape

    from edge_bts.page.html import document, table
    from edge_bts.page.plot import Axis, Plot, log

    rows = comparison.rows
    ends = [end for row in rows for q in (row.engine, row.frame) for end in (q.low, q.high)]
    count = len(rows)
    plot = Plot(
        log([*ends, 0.9, 1.1], (1, 1.2, 1.5, 2, 3, 5, 7, 8, 9)),
        Axis(0, count, [], logarithmic=False),
        "after / before: right of the line is slower",
        "",
        height=54 + 40 * count,
    )
    plot.mark(1, "line")
    for share in {comparison.shares.engine, comparison.shares.frame}:
        plot.mark(1 + share, "line dash")
    for index, row in enumerate(rows):
        for offset, style, found in ((0.55, "one", row.engine), (0.3, "two", row.frame)):
            at = count - index - 1 + offset
            tip = f"{row.label}: {found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
            plot.curve([(found.low, at), (found.high, at)], style, tip)
            plot.point(found.value, at, f"{style}{' diamond' if style == 'two' else ''}", tip)
        plot.note(min([*ends, 0.9]), count - index - 0.2, row.label)
    legend = (
        '<p class="legend"><span><i class="key one"></i>engine</span>'
        '<span><i class="key two diamond"></i>frame</span></p>'
    )
    heads = ("row", "engine ms", "after", "after / before", "frame ms", "after", "worse")
    lines = [
        [
            escape(row.label),
            *(f"{value:.2f}" for value in row.engine_ms),
            f"{row.engine.value:.3f} <span class=interval>{row.engine.low:.3f}–"
            f"{row.engine.high:.3f}</span>",
            *(f"{value:.2f}" for value in row.frame_ms),
            escape("; ".join(row.worse)) or "–",
        ]
        for row in rows
    ]
    body = [
        "<h1>Two benchmarks</h1>",
        f'<p class="soft">before: {escape(comparison.before)}<br>after: '
        f"{escape(comparison.after)}</p>",
        *(f'<p class="warn">Not the same: {escape(text)}.</p>' for text in comparison.unlike),
        f'<div class="charts few"><div class="chart"><h3>Medians, with 95 % intervals</h3>'
        f"{plot.svg('Quotients of medians')}{legend}</div></div>",
        table(heads, lines),
    ]
    return document("Two benchmarks", body)
