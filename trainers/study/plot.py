"""The report as a picture: variants with their seeds, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.files import atomic_path
from edge_bts.metrics import Score
from edge_bts.trainers.study.report import Comparison, StudyReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_report"]

_COLOURS = {"better": "#1f77b4", "worse": "#d1495b", "open": "#8a8f98"}


def draw_report(report: StudyReport, path: Path) -> None:
    """Draw mean Dice of each variant and the differences, with 95 % intervals, into a PNG.

    With one variant there are no differences, and no panel for them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(report.variants), len(report.comparisons))
    panels = 2 if report.comparisons else 1
    figure = Figure(figsize=(5 * panels, 1.6 + 0.42 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, panels, squeeze=False)[0]
    for place, row in enumerate(report.variants):
        _draw(left, place, row.dice, row.dice_by_seed, "#1f77b4", text="{:.1f}")
    _finish(left, [variant.label for variant in report.variants])
    done = report.expected - len(report.missing)
    part = f", {done} of {report.expected} runs" if report.missing else ""
    left.set(
        title=f"{report.dataset}: Dice, lesion images{part}",
        xlabel="points of 100; ticks: single seeds",
    )
    for right in others:
        _draw_differences(right, report.comparisons)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_differences(axes: Axes, pairs: Sequence[Comparison]) -> None:
    for place, pair in enumerate(pairs):
        colour, hollow = _COLOURS[pair.outcome], pair.outcome == "open"
        _draw(axes, place, pair.difference, pair.by_seed, colour, text="{:+.1f}", hollow=hollow)
    _finish(axes, [f"{pair.first} − {pair.second}" for pair in pairs])
    axes.set(title="Paired difference of Dice", xlabel="points; filled: Holm-corrected p < 0.05")
    axes.axvline(0, color="0.4", linewidth=1, zorder=0)


def _finish(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw(
    axes: Axes,
    place: int,
    score: Score,
    seeds: Mapping[int, float],
    colour: str,
    *,
    text: str,
    hollow: bool = False,
) -> None:
    """Draw the interval, the mean and, below, a tick a seed; in points of 100."""
    mean = 100 * score.value
    if score.low is not None and score.high is not None:
        axes.plot([100 * score.low, 100 * score.high], [place, place], color=colour, linewidth=2)
    face = "white" if hollow else colour
    axes.plot(mean, place, "o", color=colour, markerfacecolor=face, markersize=7)
    ticks = [100 * value for value in seeds.values()]
    axes.plot(ticks, [place + 0.24] * len(ticks), "|", color="0.45", markersize=7)
    axes.annotate(text.format(mean), (mean, place - 0.16), ha="center", va="bottom", fontsize=8)
