"""Bland-Altman limits against the formulas on SciPy's and statistics' moments."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from edge_bts.metrics import ImageRow, area_agreement, score_image


def _row(predicted: int, true: int, spacing_mm: float | None = None) -> ImageRow:
    prediction, target = np.zeros((2, 40, 50), np.uint8)
    prediction.flat[:predicted] = 1
    target.flat[:true] = 1
    return score_image(
        prediction, target, id="", group="", category="", spacing_mm=spacing_mm,
        predicted=predicted > 0, presence=0.5, dice_ungated=0.0,
    )  # fmt: skip


AREAS = [(120, 100), (80, 100), (400, 410), (1500, 1000), (33, 30), (700, 720)]


def test_limits_are_mean_and_1_96_deviations() -> None:
    """Bias and limits are those of the plain differences, and of the logarithms of the ratios."""
    found = area_agreement(_row(*pair) for pair in AREAS)
    assert found is not None
    differences = [p - t for p, t in AREAS]
    reach = 1.96 * statistics.stdev(differences)
    bias = statistics.fmean(differences)
    assert (found.px2.bias, found.px2.low, found.px2.high) == pytest.approx(
        (bias, bias - reach, bias + reach)
    )
    from scipy import stats

    ratios = [p / t for p, t in AREAS]
    centre, spread = stats.gmean(ratios), stats.gstd(ratios, ddof=1)
    assert (found.ratio.bias, found.ratio.low, found.ratio.high) == pytest.approx(
        (centre, centre / spread**1.96, centre * spread**1.96)
    )
    assert (found.px2.n, found.ratio.n, found.left_out, found.mm2) == (6, 6, 0, None)


def test_limits_cover_95_percent() -> None:
    """Of differences drawn from a normal distribution 95 % lie within the limits."""
    rng = np.random.default_rng(0)
    true = np.full(2000, 1000)
    predicted = np.rint(true * np.exp(rng.normal(0.05, 0.2, 2000))).astype(int).clip(1, 2000)
    found = area_agreement(_row(p, t) for p, t in zip(predicted[:600], true[:600], strict=True))
    assert found is not None
    assert found.ratio.low is not None
    assert found.ratio.high is not None
    inside = (predicted[600:] / 1000 > found.ratio.low) & (
        predicted[600:] / 1000 < found.ratio.high
    )
    assert inside.mean() == pytest.approx(0.95, abs=0.015)
    assert found.ratio.bias == pytest.approx(math.exp(0.05), abs=0.03)


def test_millimetres_need_a_spacing() -> None:
    """Areas in mm² are over the images with known spacing, each with its own."""
    found = area_agreement([_row(120, 100, 0.1), _row(80, 100, 0.2), _row(1000, 10)])
    assert found is not None
    assert found.mm2 is not None
    assert (found.mm2.n, found.px2.n) == (2, 3)
    assert found.mm2.bias == pytest.approx((20 * 0.01 - 20 * 0.04) / 2)


def test_what_was_not_measured_is_left_out() -> None:
    """Missed lesions are counted, normals ignored; one image has a bias and no limits."""
    found = area_agreement([_row(120, 100), _row(0, 50), _row(30, 0), _row(0, 0)])
    assert found is not None
    assert (found.px2.n, found.left_out) == (1, 1)
    assert (found.px2.bias, found.px2.low, found.ratio.high) == (20, None, None)
    assert area_agreement([_row(0, 50), _row(30, 0)]) is None
