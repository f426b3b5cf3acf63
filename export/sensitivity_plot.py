"""The sensitivity analysis for the eye: a table for the terminal and a picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_bts.files import atomic_path
from edge_bts.metrics import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from edge_bts.export.sensitivity import Sensitivity

__all__ = ["draw_sensitivity", "sensitivity_table"]


def sensitivity_table(found: Sensitivity) -> Table:
    """Return the groups as a table, the worst bargain first; Dice in points of 100."""
    from rich.table import Table

    whole, lost = found.int8.time, found.lost(found.int8)
    table = Table(
        title="Sensitivity to INT8",
        caption=f"{len(found.images)} validation images; all in INT8: {100 * lost.mean:+.2f} "
        f"points lost, {100 * (1 - whole.median):.0f} % of the time saved. Points of Dice; the "
        "lower bound is of 95 %.",
    )
    heads = (
        "group",
        "layers",
        "alone: loses",
        "saves",
        "kept float: gives back",
        "lower bound",
        "costs",
        "points per % of time",
    )
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left")
    for group in found.ranked():
        back = found.recovered(group)
        table.add_row(
            group.name,
            str(len(group.layers)),
            f"{100 * found.lost(group.only).mean:+.2f}",
            f"{100 * (1 - group.only.time.median):+.1f} %",
            f"{100 * back.mean:+.2f}",
            f"{100 * back.lower_bound:+.2f}",
            f"{100 * (group.all_but.time.median - 1):+.1f} %",
            f"{found.drop_per_gain(group):+.3f}",
        )
    return table


def draw_sensitivity(found: Sensitivity, path: Path) -> None:
    """Draw Dice against time into a PNG: each group alone in INT8, and each kept float."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for group in found.groups:
        lost, back = found.lost(group.only), found.recovered(group)
        _point(left, 1 - group.only.time.median, lost)
        _point(right, group.all_but.time.median - 1, back)
    left.set(
        title="The group alone in INT8, against float",
        xlabel="time saved, %",
        ylabel="Dice lost, points of 100",
    )
    right.set(
        title="The group kept float, against all in INT8",
        xlabel="time paid, %",
        ylabel="Dice given back, points of 100",
    )
    for axes in (left, right):
        axes.axhline(0, color="0.4", linewidth=1, zorder=0)
        axes.axvline(0, color="0.4", linewidth=1, zorder=0)
        axes.margins(x=0.14, y=0.08)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{len(found.images)} validation images; bars: 95 % intervals, red: above 0; OpenVINO, "
        "one thread",
        fontsize=10,
    )
    figure.draw_without_rendering()  # places the axes, so that labels can be placed in them
    names = [group.name for group in found.groups]
    for axes in (left, right):
        _label(axes, names)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _point(axes: Axes, gain: float, change: Difference) -> None:
    colour = "#d1495b" if change.lower_bound > 0 else "#5b6470"
    x, y = 100 * gain, 100 * change.mean
    if np.isfinite(change.low):
        ends = [100 * change.low, 100 * change.high]
        axes.plot([x, x], ends, color=colour, alpha=0.35, linewidth=2, gid="bar")
    axes.plot(x, y, "o", color=colour, markersize=6, gid="point")


def _label(axes: Axes, names: Sequence[str]) -> None:
    """Write the names beside the points, each where it lies on no other label or point."""
    from matplotlib.text import Text

    points = [line for line in axes.lines if line.get_gid() == "point"]
    taken = [line.get_window_extent() for line in points]
    for name, line in zip(names, points, strict=True):
        for distance, side, down in itertools.product((7, 20, 33, 46), (1, -1), (-1, 0, 1)):
            text = axes.annotate(
                name,
                (float(line.get_xdata()[0]), float(line.get_ydata()[0])),  # type: ignore[index, arg-type]
                xytext=(7 * side, down * distance),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=8,
                color="0.15",
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6},
            )
            text.set_in_layout(False)  # or the axes would move under the labels
            text.get_window_extent()  # finds the place
            box = Text.get_window_extent(text)  # of the words alone, without their line
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            continue  # more names than room: the table has them all
        taken.append(box)
