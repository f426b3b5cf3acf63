"""The choice of the two thresholds of a segmenter on validation samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import InputError
from edge_bts.evaluate import SegmenterLike, tracked

if TYPE_CHECKING:
    from edge_bts.data import Sample

__all__ = ["THRESHOLD_GRID", "OperatingPoint", "pick_operating_point"]

THRESHOLD_GRID: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""0.05 to 0.95 in steps of 0.05."""


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, and what they reach on the samples that chose them.

    Attributes:
        threshold: From this probability on a pixel is lesion.
        presence_threshold: Below this presence score a mask is emptied; 0 empties none.
        dice: Mean per-image Dice over the lesion images, with both thresholds.
        dice_ungated: The same without the presence threshold.
        sensitivity: Share of the lesion images in which any pixel is lesion.
        false_positive_rate: The same share of the normals; None if there are none.
    """

    threshold: float
    presence_threshold: float
    dice: float
    dice_ungated: float
    sensitivity: float
    false_positive_rate: float | None


def pick_operating_point(
    segmenter: SegmenterLike,
    samples: Sequence[Sample],
    grid: Sequence[float] = THRESHOLD_GRID,
    *,
    false_positive_target: float = 0.1,
    dice_cost: float = 0.01,
    progress: bool = False,
) -> OperatingPoint:
    """Choose both thresholds on validation samples, with one inference an image.

    The mask's threshold is the one with the highest mean per-image Dice over the lesion images; of
    equal ones the nearest to 0.5, then the lower. Normals have no say in it; they do not enter the
    mean Dice that is reported either.

    The presence threshold is the lowest at which a find on a further normal is to be expected with
    a probability of at most ``false_positive_target``, moved to the middle of the gap between two
    scores of the samples, so that it sits on none; 0 if nothing need be emptied. With k finds left
    on n normals that probability is at most ``(k + 1)/(n + 1)`` (split conformal prediction;
    Angelopoulos and Bates 2021, arXiv 2107.07511, theorem 1): k/n would flatter, the more the
    fewer the normals. Where n is too small for any promise, no find is left. Where emptied lesion
    images would cost more than ``dice_cost`` of the mean Dice, lesions go first: further normals
    are let through, as many as it takes.

    For validation samples only: figures of the samples that chose a threshold flatter it.

    Args:
        segmenter: Gives probabilities and scores; its own thresholds play no part.
        samples: Of the validation part.
        grid: Thresholds of the mask to try, in (0, 1).
        false_positive_target: Share of normals to come, in [0, 1].
        dice_cost: Most that the presence threshold may cost of the mean Dice, in [0, 1].
        progress: As in :func:`edge_bts.evaluate.evaluate`.

    Raises:
        InputError: No sample has a lesion, or one cannot be read.
    """
    candidates = sorted(grid)
    curves: list[NDArray[np.float64]] = []
    lesions: list[_Seen] = []
    normals: list[_Seen] = []
    for sample in tracked(samples, "choosing thresholds", progress):
        image, mask = sample.read()
        found = segmenter.predict(image)
        seen = _Seen(np.fmax.reduce(found.probability, axis=None), found.presence)
        if mask.any():
            lesions.append(seen)
            curves.append(_dice_at(found.probability, mask.astype(bool), candidates))
        else:
            normals.append(seen)
    if not lesions:
        raise InputError(
            "Expected samples with a lesion to choose a threshold on, but none has one; "
            "pass the validation part of a data set with masks."
        )
    mean = np.mean(curves, axis=0)
    best = min(np.flatnonzero(mean == mean.max()), key=lambda i: abs(candidates[i] - 0.5))
    threshold = candidates[best]
    finds = [seen.presence for seen in normals if seen.has_pixel(threshold)]
    scores = [seen.presence for seen in (*lesions, *normals)]

    reached = np.array([curve[best] for curve in curves])
    present = np.array([seen.presence for seen in lesions])

    def gated(gate: float) -> float:
        return float(np.mean(reached * (present >= gate)))

    allowed = max(0, math.floor(false_positive_target * (len(normals) + 1) + 1e-9) - 1)
    # The last one is 0, which empties nothing and costs nothing.
    gates = (_gate(finds, scores, number) for number in range(allowed, len(normals) + 1))
    gate = next(gate for gate in gates if mean[best] - gated(gate) <= dice_cost + 1e-9)
    return OperatingPoint(
        threshold=threshold,
        presence_threshold=gate,
        dice=gated(gate),
        dice_ungated=float(mean[best]),
        sensitivity=_share(seen.is_find(threshold, gate) for seen in lesions),
        false_positive_rate=(
            _share(seen.is_find(threshold, gate) for seen in normals) if normals else None
        ),
    )


@dataclass(frozen=True)
class _Seen:
    """What a choice of thresholds needs of one image: its highest probability and its score."""

    peak: np.float32
    presence: float

    def has_pixel(self, threshold: float) -> bool:
        return bool(self.peak >= np.float32(threshold))  # as geometry.threshold compares

    def is_find(self, threshold: float, gate: float) -> bool:
        return self.has_pixel(threshold) and self.presence >= gate


def _gate(finds: Sequence[float], scores: Sequence[float], allowed: int) -> float:
    """Return the presence threshold that leaves at most ``allowed`` of ``finds``.

    ``scores`` are those of all images, which it shall keep away from.
    """
    if len(finds) <= allowed:
        return 0.0
    dropped = sorted(finds, reverse=True)[allowed]
    above = min((score for score in scores if score > dropped), default=1.0)
    # Scores of exactly 1 are out of reach: a threshold of 1 would empty every mask.
    return min((dropped + above) / 2, math.nextafter(1.0, 0.0))


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def _dice_at(
    probability: NDArray[np.float32], target: NDArray[np.bool_], thresholds: Sequence[float]
) -> NDArray[np.float64]:
    """Dice at each of the rising thresholds, from one pass over the pixels."""
    # How many thresholds a pixel reaches; compared in float32 as geometry.threshold does.
    reached = np.searchsorted(np.asarray(thresholds, np.float32), probability.ravel(), "right")
    reached[np.isnan(probability.ravel())] = 0
    length = len(thresholds) + 1
    predicted = np.bincount(reached, minlength=length)[::-1].cumsum()[::-1][1:]
    both = np.bincount(reached[target.ravel()], minlength=length)[::-1].cumsum()[::-1][1:]
    return np.asarray(2 * both / (predicted + np.count_nonzero(target)), np.float64)
