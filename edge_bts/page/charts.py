"""The plots of a report: Dice, Dice by size, agreement of areas, presence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_bts.metrics import LESION_SIZES, ImageRow
from edge_bts.page.plot import Axis, Plot, linear, log

if TYPE_CHECKING:
    from edge_bts.evaluate import Report

__all__ = ["agreement_chart", "dice_chart", "legend", "presence_chart", "size_chart"]

_BINS = 20
_UNIT = linear(0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1), "{:.1f}")
_STYLES = {"malignant": "two", "normal": "three"}  # all others are "one"


def legend(names: Sequence[str], *, points: bool) -> str:
    """Return the legend of categories; "" for one, which needs none."""
    if len(names) < 2:
        return ""
    entries = (
        f'<span><i class="key {_style(name)}{" diamond" if points and name == "malignant" else ""}'
        f'"></i>{name}</span>'
        for name in names
    )
    return f'<p class="legend">{"".join(entries)}</p>'


def dice_chart(rows: Sequence[ImageRow]) -> str:
    """Return the histogram of Dice over the lesion images, categories stacked."""
    counts = {
        name: np.histogram([r.dice for r in rows if r.category == name], _BINS, (0, 1))[0]
        for name in _categories(rows)
    }
    highest = int(sum(counts.values(), np.zeros(_BINS, int)).max())
    plot = Plot(_UNIT, linear(0, highest * 1.12, _whole_ticks(highest)), "Dice", "images")
    for index in range(_BINS):
        foot = 0
        left, right = index / _BINS, (index + 1) / _BINS
        for name, count in counts.items():
            if number := int(count[index]):
                tip = f"Dice {left:.2f} to {right:.2f}: {number} {name}"
                plot.bar(left, right, foot, foot + number, _style(name), tip)
                foot += number
    mean = float(np.mean([row.dice for row in rows]))
    plot.mark(mean, "line", f"mean {mean:.3f}")
    return plot.svg(f"Histogram of Dice over {len(rows)} lesion images")


def size_chart(rows: Sequence[ImageRow]) -> str:
    """Return Dice against the lesion's share of its image."""
    shares = [100 * row.target_px / (row.height * row.width) for row in rows]
    plot = Plot(log([*shares, 1, 20]), _UNIT, "lesion, % of the image", "Dice")
    for low, _ in LESION_SIZES.values():
        if low:
            plot.mark(100 * low, "line dash")
    for row, share in zip(rows, shares, strict=True):
        plot.point(share, row.dice, _point(row), f"{row.id}: Dice {row.dice:.3f}, {share:.2g} %")
    return plot.svg("Dice against lesion size")


def agreement_chart(report: Report) -> str:
    """Return the Bland-Altman plot of areas, as ratios; "" where nothing was measured."""
    if report.area is None:
        return ""
    rows = [row for row in report.rows if row.target_px and row.predicted_px]
    in_mm = all(row.spacing_mm is not None for row in rows)
    unit = "mm²" if in_mm else "px²"
    scales = [(row.spacing_mm or 1.0) ** 2 if in_mm else 1.0 for row in rows]
    means = [s * (r.target_px + r.predicted_px) / 2 for r, s in zip(rows, scales, strict=True)]
    ratios = [row.predicted_px / row.target_px for row in rows]
    limits = report.area.ratio
    ends = [end for end in (limits.low, limits.high) if end is not None]
    y = log([*ratios, *ends, 0.5, 2], (1,), 2)
    plot = Plot(log(means), y, f"mean of both areas, {unit}", "predicted / true area")
    plot.level(1, "axis")
    for row, mean, ratio in zip(rows, means, ratios, strict=True):
        plot.point(mean, ratio, _point(row), f"{row.id}: {ratio:.2f} of the true area")
    plot.level(limits.bias, "line", f"bias {limits.bias:.2f}")
    for end in ends:
        plot.level(end, "line dash", f"{end:.2f}")
    return plot.svg("Bland-Altman plot of lesion areas")


def presence_chart(report: Report) -> str:
    """Return the presence scores of lesion images, upwards, and of normals, downwards."""
    kinds = {
        "lesion": [row.presence for row in report.rows if row.target_px],
        "normal": [row.presence for row in report.rows if not row.target_px],
    }
    shares = {
        name: 100 * np.histogram(scores, _BINS, (0, 1))[0] / len(scores)
        for name, scores in kinds.items()
        if scores
    }
    top, foot = (
        1.12 * float(shares[name].max()) if name in shares else 0.0 for name in ("lesion", "normal")
    )
    ticks = _whole_ticks(round(top + foot), 6)
    both = [-tick for tick in ticks[:0:-1] if tick <= foot] + [t for t in ticks if t <= top]
    y = Axis(-foot, top, [(tick, f"{abs(tick):g}") for tick in both], logarithmic=False)
    plot = Plot(_UNIT, y, "presence score", "% of each kind")
    for name, share in shares.items():
        sign = 1 if name == "lesion" else -1
        for index, height in enumerate(share):
            if height:
                left, right = index / _BINS, (index + 1) / _BINS
                tip = f"{left:.2f} to {right:.2f}: {height:.1f} % of {name} images"
                plot.bar(left, right, 0, sign * float(height), _style(name), tip)
    plot.level(0, "axis")
    if report.presence_threshold:
        text = f"threshold {report.presence_threshold:.3f}"
        plot.mark(report.presence_threshold, "line dash", text)
    return plot.svg("Presence scores of lesion images and of normals")


def _categories(rows: Sequence[ImageRow]) -> list[str]:
    return sorted({row.category for row in rows})


def _style(category: str) -> str:
    return _STYLES.get(category, "one")


def _point(row: ImageRow) -> str:
    return f"{_style(row.category)}{' diamond' if row.category == 'malignant' else ''}"


def _whole_ticks(highest: int, about: int = 5) -> list[int]:
    """Return whole ticks from 0 to at most ``highest``, near ``about`` of them."""
    steps = (s * 10**p for p in range(7) for s in (1, 2, 5))
    step = next(step for step in steps if highest / step <= about)
    return list(range(0, highest + 1, step))
