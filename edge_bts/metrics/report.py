"""Scores of a test set: one row an image, and what is reported of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts.metrics.intervals import auc, bootstrap_auc_ci, bootstrap_ratio_ci
from edge_bts.metrics.overlap import pixel_counts
from edge_bts.metrics.surface import assd, hd95

__all__ = [
    "LESION_SIZES",
    "FalsePositives",
    "ImageRow",
    "Presence",
    "Score",
    "Summary",
    "false_positives",
    "lesion_size",
    "presence_scores",
    "score_image",
    "summarise",
]

Size = Literal["small", "medium", "large"]

LESION_SIZES: dict[Size, tuple[float, float]] = {
    "small": (0.0, 0.03),
    "medium": (0.03, 0.10),
    "large": (0.10, math.inf),
}
"""Lesion pixels as a share of the image, from and below; near the tertiles of BUSI (0.032, 0.104).

Fixed shares, not each set's own tertiles: "small" means the same on every set.
"""


class ImageRow(BaseModel):
    """One image: who it is, its pixel counts and scores, in source geometry.

    Distances are None where they do not exist: one of the masks is empty. ``predicted`` says
    whether some connected component of the prediction is larger than the report's ``min_area_px``.
    Masks below the presence threshold are empty in all of it; ``dice_ungated`` alone is that of
    the mask before. ``longest_px`` is the longest diameter of the largest component of the
    prediction, ``true_longest_px`` that of the true mask (:mod:`edge_bts.measure`); None where the
    mask is empty, and in reports of before they were measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    group: str
    category: str
    height: int
    width: int
    spacing_mm: float | None
    true_positive: int
    false_positive: int
    false_negative: int
    predicted: bool
    presence: float
    dice: float
    dice_ungated: float
    iou: float
    precision: float
    recall: float
    hd95_px: float | None
    assd_px: float | None
    longest_px: float | None = None
    true_longest_px: float | None = None

    @property
    def target_px(self) -> int:
        """Lesion pixels of the true mask."""
        return self.true_positive + self.false_negative

    @property
    def predicted_px(self) -> int:
        """Lesion pixels of the predicted mask."""
        return self.true_positive + self.false_positive

    @property
    def size(self) -> Size | None:
        """The lesion's size class, None on an image without lesion."""
        return lesion_size(self.target_px / (self.height * self.width))


class Score(BaseModel):
    """A mean or pooled score over ``n`` images with its 95 % interval.

    ``low`` and ``high`` are None where only one group was there to resample.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float | None
    high: float | None
    n: int


class Summary(BaseModel):
    """Scores over the lesion images of a set or of a part of it.

    ``scores`` holds per-image means (``dice``, ``iou``, ``precision``, ``recall``), the same four
    of the pooled pixels (``pooled_dice``, ...), and mean distances over the images that have one
    (``hd95_px``, ``assd_px``; ``hd95_mm``, ``assd_mm`` over those with known spacing).
    ``hd95_px_penalised`` and ``assd_px_penalised`` put the image diagonal where the prediction is
    empty. ``missed`` counts images with Dice 0, ``empty`` those of them without any predicted
    pixel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    groups: int
    missed: int
    empty: int
    scores: dict[str, Score]


class FalsePositives(BaseModel):
    """Images without lesion: ``rate`` is the share of them in which one is predicted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    groups: int
    rate: Score


class Presence(BaseModel):
    """How well the presence score tells images with a lesion from those without.

    Attributes:
        auc: Area under the ROC curve; None unless there are images of both kinds.
        sensitivity: Share of the lesion images in which one is predicted, after the presence
            threshold; what :class:`FalsePositives` counts on the others. None without lesions.
        dice_ungated: Mean Dice of the lesion images if no mask were emptied. None without lesions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    auc: Score | None
    sensitivity: Score | None
    dice_ungated: Score | None


def lesion_size(share: float) -> Size | None:
    """Name the size class of a lesion that covers ``share`` of its image; None for 0."""
    if share <= 0:
        return None
    return next(name for name, (low, high) in LESION_SIZES.items() if low <= share < high)


def score_image(
    prediction: NDArray[Any],
    target: NDArray[Any],
    *,
    id: str,
    group: str,
    category: str,
    spacing_mm: float | None,
    predicted: bool,
    presence: float,
    dice_ungated: float,
    longest_px: float | None = None,
    true_longest_px: float | None = None,
) -> ImageRow:
    """Score one prediction against its true mask, both (H, W) 0/1 in source geometry.

    Raises:
        ValueError: The masks differ in shape, or are of floats.
    """
    counts = pixel_counts(prediction, target)
    return ImageRow(
        id=id,
        group=group,
        category=category,
        height=target.shape[0],
        width=target.shape[1],
        spacing_mm=spacing_mm,
        true_positive=counts.true_positive,
        false_positive=counts.false_positive,
        false_negative=counts.false_negative,
        predicted=predicted,
        presence=presence,
        dice=counts.dice,
        dice_ungated=dice_ungated,
        iou=counts.iou,
        precision=counts.precision,
        recall=counts.recall,
        hd95_px=_finite_or_none(hd95(prediction, target)),
        assd_px=_finite_or_none(assd(prediction, target)),
        longest_px=longest_px,
        true_longest_px=true_longest_px,
    )


def summarise(rows: Iterable[ImageRow], *, resamples: int = 2000, seed: int = 0) -> Summary | None:
    """Aggregate the rows with a lesion; None if there are none.

    Intervals are bootstrap percentiles at 95 %, resampled by group (:mod:`.intervals`).
    """
    lesions = [row for row in rows if row.target_px]
    if not lesions:
        return None
    scores: dict[str, Score] = {}
    for name, ratio in _QUANTITIES.items():
        having = [(row, pair) for row in lesions if (pair := ratio(row)) is not None]
        if having:
            scores[name] = _score(
                [pair for _, pair in having], [row.group for row, _ in having], resamples, seed
            )
    return Summary(
        images=len(lesions),
        groups=len({row.group for row in lesions}),
        missed=sum(row.true_positive == 0 for row in lesions),
        empty=sum(row.predicted_px == 0 for row in lesions),
        scores=scores,
    )


def false_positives(
    rows: Iterable[ImageRow], *, resamples: int = 2000, seed: int = 0
) -> FalsePositives | None:
    """Count predictions on the rows without a lesion; None if there are no such rows."""
    normals = [row for row in rows if not row.target_px]
    if not normals:
        return None
    groups = [row.group for row in normals]
    rate = _score([(float(row.predicted), 1.0) for row in normals], groups, resamples, seed)
    return FalsePositives(images=len(normals), groups=len(set(groups)), rate=rate)


def presence_scores(rows: Sequence[ImageRow], *, resamples: int = 2000, seed: int = 0) -> Presence:
    """Compare the presence scores of the rows with and without a lesion."""
    lesions = [row for row in rows if row.target_px]
    groups = [row.group for row in lesions]
    curve = None
    if 0 < len(lesions) < len(rows):
        scores, truth = [row.presence for row in rows], [row.target_px > 0 for row in rows]
        low, high = bootstrap_auc_ci(
            scores, truth, [row.group for row in rows], resamples=resamples, seed=seed
        )
        curve = Score(
            value=auc(scores, truth),
            low=_finite_or_none(low),
            high=_finite_or_none(high),
            n=len(rows),
        )
    found = [(float(row.predicted), 1.0) for row in lesions]
    ungated = [(row.dice_ungated, 1.0) for row in lesions]
    return Presence(
        auc=curve,
        sensitivity=_score(found, groups, resamples, seed) if lesions else None,
        dice_ungated=_score(ungated, groups, resamples, seed) if lesions else None,
    )


def _score(
    pairs: Sequence[tuple[float, float]], groups: Sequence[str], resamples: int, seed: int
) -> Score:
    """Score ``sum(first) / sum(second)`` of a pair an image; second = 1 makes it the mean."""
    top, bottom = np.asarray(pairs, np.float64).T
    low, high = bootstrap_ratio_ci(top, bottom, groups, resamples=resamples, seed=seed)
    value = float(top.sum() / bottom.sum()) if bottom.sum() else 0.0
    return Score(value=value, low=_finite_or_none(low), high=_finite_or_none(high), n=len(pairs))


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _millimetres(pixels: float | None, row: ImageRow) -> tuple[float, float] | None:
    return None if pixels is None or row.spacing_mm is None else (pixels * row.spacing_mm, 1.0)


def _penalised(pixels: float | None, row: ImageRow) -> tuple[float, float]:
    return (math.hypot(row.height, row.width) if pixels is None else pixels), 1.0


def _distance(pixels: float | None) -> tuple[float, float] | None:
    return None if pixels is None else (pixels, 1.0)


# Each reported quantity as numerator and denominator of one image: a mean has denominator 1,
# a pooled score its pixels. None: the image has no such quantity.
_QUANTITIES: dict[str, Callable[[ImageRow], tuple[float, float] | None]] = {
    "dice": lambda r: (r.dice, 1.0),
    "iou": lambda r: (r.iou, 1.0),
    "precision": lambda r: (r.precision, 1.0),
    "recall": lambda r: (r.recall, 1.0),
    "pooled_dice": lambda r: (
        2 * r.true_positive,
        2 * r.true_positive + r.false_positive + r.false_negative,
    ),
    "pooled_iou": lambda r: (
        r.true_positive,
        r.true_positive + r.false_positive + r.false_negative,
    ),
    "pooled_precision": lambda r: (r.true_positive, r.true_positive + r.false_positive),
    "pooled_recall": lambda r: (r.true_positive, r.target_px),
    "hd95_px": lambda r: _distance(r.hd95_px),
    "assd_px": lambda r: _distance(r.assd_px),
    "hd95_mm": lambda r: _millimetres(r.hd95_px, r),
    "assd_mm": lambda r: _millimetres(r.assd_px, r),
    "hd95_px_penalised": lambda r: _penalised(r.hd95_px, r),
    "assd_px_penalised": lambda r: _penalised(r.assd_px, r),
}
