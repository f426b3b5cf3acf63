"""The report as a picture: variants with their seeds, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.files import atomic_path
from edge_bts.metrics import Score
from edge_bts.trainers.study.report import StudyReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_report"]

_COLOURS = {"better": "#1f77b4", "worse": "#d1495b", "open": "#8a8f98"}


def draw_report(report: StudyReport, path: Path) -> None:
    """Draw mean Dice of each variant and the differences, with 95 % intervals, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(report.variants), len(report.comparisons))
    figure = Figure(figsize=(10, 1.6 + 0.42 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for place, row in enumerate(report.variants):
        _draw(left, place, row.dice, row.dice_by_seed, "#1f77b4", text="{:.1f}")
    for place, pair in enumerate(report.comparisons):
        colour, hollow = _COLOURS[pair.outcome], pair.outcome == "open"
        _draw(right, place, pair.difference, pair.by_seed, colour, text="{:+.1f}", hollow=hollow)
    done = report.expected - len(report.missing)
    part = f", {done} of {report.expected} runs" if report.missing else ""
    left.set(
        title=f"{report.dataset}: Dice, lesion images{part}",
        xlabel="points of 100; ticks: single seeds",
    )
    right.set(title="Paired difference of Dice", xlabel="points; filled: Holm-corrected p < 0.05")
    right.axvline(0, color="0.4", linewidth=1, zorder=0)
    labels = [f"{pair.first} − {pair.second}" for pair in report.comparisons]
    for axes, names in ((left, [v.label for v in report.variants]), (right, labels)):
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.7)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


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
