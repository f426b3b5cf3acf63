"""Overlap of a predicted and a true mask: Dice, IoU, precision, recall, and their pixel counts.

Every score is a ratio of the same four counts, so a pooled score is the score of the summed
counts: ``sum(pixel_counts(p, t) for p, t in pairs, start=PixelCounts()).dice``.

Where the ratio is 0/0:

* An **empty prediction on an empty target scores 1**, in all four: it is right. The other
  convention in use scores it 0 (scikit-learn's ``zero_division=0``) or leaves it out
  (MONAI's ``ignore_empty=True``, NaN). On lesion images, over which we average, it cannot occur.
* Precision of an empty prediction on a lesion, and recall of a prediction on an empty target, are
  0: a missed image must not look precise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelCounts", "as_mask", "dice", "iou", "pixel_counts", "precision", "recall"]


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of a confusion matrix, of one image or of many; they add up with ``+``."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def dice(self) -> float:
        """2·TP / (2·TP + FP + FN), in [0, 1]; the F1 score of the pixels."""
        return self._ratio(
            2 * self.true_positive,
            2 * self.true_positive + self.false_positive + self.false_negative,
        )

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), in [0, 1]; the Jaccard index."""
        return self._ratio(
            self.true_positive, self.true_positive + self.false_positive + self.false_negative
        )

    @property
    def precision(self) -> float:
        """TP / (TP + FP), in [0, 1]; the positive predictive value."""
        return self._ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), in [0, 1]; the sensitivity."""
        return self._ratio(self.true_positive, self.true_positive + self.false_negative)

    def _ratio(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        nothing_to_find_nothing_found = not (self.false_positive or self.false_negative)
        return float(nothing_to_find_nothing_found)


def as_mask(mask: NDArray[Any], name: str = "mask") -> NDArray[np.bool_]:
    """Return ``mask`` as bool; every value but 0 is lesion.

    Raises:
        ValueError: ``mask`` is not of a bool or integer type (a probability wants a threshold
            first).
    """
    mask = np.asarray(mask)
    if mask.dtype.kind not in "bui":
        raise ValueError(
            f"Expected {name} of bool or integers, but got {mask.dtype}; apply a threshold first."
        )
    return mask.astype(bool, copy=False)


def pixel_counts(prediction: NDArray[Any], target: NDArray[Any]) -> PixelCounts:
    """Count the pixels of ``prediction`` against ``target``.

    Args:
        prediction: Mask of any shape, bool or integers; every value but 0 is lesion.
        target: Mask of the same shape.

    Raises:
        ValueError: The shapes differ, or a mask is of floats.
    """
    p, t = as_mask(prediction, "prediction"), as_mask(target, "target")
    if p.shape != t.shape:
        raise ValueError(
            f"Expected prediction and target of one shape, but got {p.shape} and {t.shape}."
        )
    both = int(np.count_nonzero(p & t))
    predicted, true = int(np.count_nonzero(p)), int(np.count_nonzero(t))
    return PixelCounts(both, predicted - both, true - both, p.size - predicted - true + both)


def dice(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """Dice coefficient 2·|P ∩ T| / (|P| + |T|), in [0, 1]; both empty: 1 (see the module).

    Args and errors as in :func:`pixel_counts`.
    """
    return pixel_counts(prediction, target).dice


def iou(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """Intersection over union |P ∩ T| / |P ∪ T|, in [0, 1]; both empty: 1 (see the module).

    Args and errors as in :func:`pixel_counts`.
    """
    return pixel_counts(prediction, target).iou


def precision(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of the predicted pixels that are lesion, in [0, 1]; both empty: 1, P alone empty: 0.

    Args and errors as in :func:`pixel_counts`.
    """
    return pixel_counts(prediction, target).precision


def recall(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of the lesion pixels that are predicted, in [0, 1]; both empty: 1, T alone empty: 0.

    Args and errors as in :func:`pixel_counts`.
    """
    return pixel_counts(prediction, target).recall
