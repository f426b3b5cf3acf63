"""Distances between the outlines of a predicted and a true mask.

The outline of a mask are its pixels with at least one of four neighbours outside it; what lies
beyond the image is outside. Distances run between pixel centres and are exact: the nearest pixel
is found in integers, so that the same masks give the same bits on every machine (OpenCV's
distance transform differs in the last bit from call to call).

Where an outline is missing:

* Both masks empty: 0, they agree.
* One of them empty: infinity, the distance to the empty set (as in MONAI). To leave such images
  out of a mean rewards a model for missing the hard lesions; to put the image diagonal in their
  place mixes two quantities. :class:`~edge_bts.metrics.Summary` states both means, and the number
  of such images.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts.metrics.overlap import as_mask

__all__ = ["assd", "hd95", "surface_distances"]

_FAR = 1 << 20  # rows; farther than any image is high
_AT_ONCE = 1024  # source pixels, to bound the memory
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def surface_distances(
    prediction: NDArray[Any], target: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure from each outline pixel of one mask to the nearest outline pixel of the other.

    Args:
        prediction: Mask (H, W), bool or integers; every value but 0 is lesion.
        target: Mask (H, W).

    Returns:
        The distances in pixels from the prediction's outline to the target's, one an outline
        pixel, and those of the way back. Infinite where the other mask is empty.

    Raises:
        ValueError: The masks differ in shape, are not 2-D, or are of floats.
    """
    p, t = as_mask(prediction, "prediction"), as_mask(target, "target")
    if p.shape != t.shape or p.ndim != 2:
        raise ValueError(f"Expected two masks of one shape (H, W), but got {p.shape}, {t.shape}.")
    crop = _bounding_box(p | t)
    p_edge, t_edge = _outline(p[crop]), _outline(t[crop])
    return _distances(p_edge, t_edge), _distances(t_edge, p_edge)


def hd95(prediction: NDArray[Any], target: NDArray[Any], spacing_mm: float = 1.0) -> float:
    """95th-percentile Hausdorff distance: the larger of the two directed 95th percentiles.

    MONAI and DeepMind's surface-distance take the larger of the two directions as here; MedPy
    takes the percentile of both together, which is never larger.

    Args:
        prediction: Mask (H, W), bool or integers; every value but 0 is lesion.
        target: Mask (H, W).
        spacing_mm: Millimetres a pixel, equal in both directions; 1 gives pixels.

    Returns:
        The distance, at least 0; 0 if both masks are empty, infinity if one is.

    Raises:
        ValueError: As :func:`surface_distances`.
    """
    there, back = surface_distances(prediction, target)
    if not (there.size or back.size):
        return 0.0
    if not (there.size and back.size):
        return math.inf
    return spacing_mm * float(max(np.percentile(there, 95), np.percentile(back, 95)))


def assd(prediction: NDArray[Any], target: NDArray[Any], spacing_mm: float = 1.0) -> float:
    """Average symmetric surface distance: the mean over the outline pixels of both masks.

    Args:
        prediction: Mask (H, W), bool or integers; every value but 0 is lesion.
        target: Mask (H, W).
        spacing_mm: Millimetres a pixel, equal in both directions; 1 gives pixels.

    Returns:
        The distance, at least 0; 0 if both masks are empty, infinity if one is.

    Raises:
        ValueError: As :func:`surface_distances`.
    """
    distances = np.concatenate(surface_distances(prediction, target))
    return spacing_mm * float(distances.mean()) if distances.size else 0.0


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if not mask.size:
        return mask
    inside = cv2.erode(mask.view(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.greater(mask.view(np.uint8), inside)


def _distances(sources: NDArray[np.bool_], edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each source pixel to the nearest pixel of ``edge``, both (H, W).

    The separable transform: the nearest edge pixel within each column first, then the best column
    for each source pixel.
    """
    if not edge.any():
        return np.full(np.count_nonzero(sources), np.inf)
    height, width = edge.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    above = np.maximum.accumulate(np.where(edge, rows, -_FAR), axis=0)
    below = np.minimum.accumulate(np.where(edge, rows, 2 * _FAR)[::-1], axis=0)[::-1]
    vertical = np.minimum(rows - above, below - rows) ** 2
    y, x = np.nonzero(sources)
    nearest = [
        ((x[part, None] - columns) ** 2 + vertical[y[part]]).min(axis=1)
        for part in (slice(i, i + _AT_ONCE) for i in range(0, y.size, _AT_ONCE))
    ]
    return np.sqrt(np.concatenate(nearest)) if nearest else np.zeros(0)
