"""Size of what was segmented: connected components, their area and diameters.

Pixel convention: the centre of pixel (x, y) lies at (x, y); a pixel's outline is the diamond of
its four edge midpoints, (x ± ½, y) and (x, y ± ½), as in scikit-image's ``feret_diameter_max``:
a row of n pixels is n px long and one pixel 1 px. The longest diameter of discs, ellipses and
turned rectangles sampled at pixel centres then reads 0.9, 0.4 and -0.1 px too long on average,
and never a whole pixel off; between pixel centres ellipses read up to 1.4 px too short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_bts.metrics.overlap import as_mask

__all__ = ["Component", "components"]

_MIDPOINTS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], np.int32)  # in half pixels


@dataclass(frozen=True, eq=False)
class Component:
    """One 8-connected region of a mask; lengths in pixels, in mm where the spacing is known.

    Attributes:
        area_px: Its pixels; holes do not count.
        area_mm2: The same in mm².
        bbox: Left, top, width, height of the upright box, in whole pixels.
        centroid: Mean (x, y) of its pixel centres.
        contour: Outer border, closed, int32 (N, 2) as (x, y) of pixel centres.
        longest_px: Longest diameter: the largest distance of two points of the outline (maximal
            Feret diameter).
        longest_ends: Those two points, ((x, y), (x, y)); of several equal pairs the first in
            lexicographic order.
        orthogonal_px: Extent perpendicular to the longest diameter.
        longest_mm: The longest diameter in mm.
        orthogonal_mm: The extent perpendicular to it in mm.
    """

    area_px: int
    area_mm2: float | None
    bbox: tuple[int, int, int, int]
    centroid: tuple[float, float]
    contour: NDArray[np.int32]
    longest_px: float
    longest_ends: tuple[tuple[float, float], tuple[float, float]]
    orthogonal_px: float
    longest_mm: float | None
    orthogonal_mm: float | None


def components(
    mask: NDArray[Any], spacing_mm: float | None = None, min_area: int = 0
) -> list[Component]:
    """Measure the 8-connected components of ``mask``, the largest first.

    Args:
        mask: (H, W), bool or integers; every value but 0 is lesion.
        spacing_mm: Millimetres a pixel, equal in both directions; None: unknown.
        min_area: Components of fewer pixels are left out.

    Returns:
        One :class:`Component` each, by falling area, then from top to bottom, left to right.

    Raises:
        ValueError: The mask is not (H, W) or is of floats, or the spacing is not above 0.
    """
    image = as_mask(mask).astype(np.uint8)
    if image.ndim != 2:
        raise ValueError(f"Expected a mask (H, W), but got shape {image.shape}.")
    if spacing_mm is not None and not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise ValueError(f"Expected a spacing above 0 mm/px or None, but got {spacing_mm}.")
    # Labelling costs time in proportion to the area, and lesions fill a small part of a frame.
    left, top, width, height = cv2.boundingRect(image)
    if not width:
        return []
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(
        image[top : top + height, left : left + width], connectivity=8
    )
    found = [
        _measure(
            labels, label, stats[label].tolist(), centroids[label].tolist(), (left, top), spacing_mm
        )
        for label in range(1, count)
        if stats[label, cv2.CC_STAT_AREA] >= min_area
    ]
    return sorted(found, key=lambda c: (-c.area_px, c.bbox[1], c.bbox[0]))


def _measure(
    labels: NDArray[Any],
    label: int,
    stats: list[int],
    centroid: list[float],
    origin: tuple[int, int],
    spacing_mm: float | None,
) -> Component:
    """Measure one label; ``labels`` is the part of the frame that starts at ``origin`` (x, y)."""
    left, top, width, height, area = stats
    region = (labels[top : top + height, left : left + width] == label).astype(np.uint8)
    x, y = left + origin[0], top + origin[1]
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    contour = outlines[0].reshape(-1, 2).astype(np.int32)
    longest, ends, orthogonal = _diameters(contour)
    spacing = spacing_mm or math.nan
    known = spacing_mm is not None
    return Component(
        area_px=area,
        area_mm2=area * spacing**2 if known else None,
        bbox=(x, y, width, height),
        centroid=(centroid[0] + origin[0], centroid[1] + origin[1]),
        contour=contour,
        longest_px=longest,
        longest_ends=ends,
        orthogonal_px=orthogonal,
        longest_mm=longest * spacing if known else None,
        orthogonal_mm=orthogonal * spacing if known else None,
    )


def _diameters(
    contour: NDArray[np.int32],
) -> tuple[float, tuple[tuple[float, float], tuple[float, float]], float]:
    """Return the longest diameter, its ends and the extent perpendicular to it, in pixels.

    In half pixels all points are integers and squared distances exact, so that ties are broken
    alike everywhere. The hull of a lesion has some hundred corners: all pairs are as quick as
    rotating calipers.
    """
    points = (2 * contour[:, None] + _MIDPOINTS).reshape(-1, 1, 2)
    hull = np.unique(cv2.convexHull(points).reshape(-1, 2), axis=0).astype(np.int64)
    across = hull[:, None] - hull
    squared = (across**2).sum(axis=2)
    first, second = divmod(int(squared.argmax()), len(hull))
    longest = math.sqrt(squared[first, second])
    direction = (hull[second] - hull[first]) / longest
    offsets = hull @ np.array([-direction[1], direction[0]])
    start, end = hull[first] / 2, hull[second] / 2
    ends = ((float(start[0]), float(start[1])), (float(end[0]), float(end[1])))
    return longest / 2, ends, float(np.ptp(offsets)) / 2
