"""The tissue of a frame without what is around it: each region segmented for itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from edge_bts.dicom.regions import Region
from edge_bts.measure import Component
from edge_bts.runtime.segmenter import FramePath, Result

__all__ = ["common_spacing", "segment_regions"]


def common_spacing(regions: Sequence[Region]) -> float | None:
    """Return the spacing that all regions have; None where they differ or one has none."""
    spacings = {region.spacing_mm for region in regions}
    return spacings.pop() if len(spacings) == 1 else None


def segment_regions(
    segmenter: FramePath, frame: NDArray[np.uint8], regions: Sequence[Region]
) -> Result:
    """Segment each region as a frame of its own; put the results together in the whole frame.

    Args:
        segmenter: What finds the lesions.
        frame: uint8 H x W.
        regions: At least one; none overlaps another.

    Returns:
        Mask and probability are 0 outside the regions; ``presence`` is the highest, times are
        sums, ``health`` has the words of all. Each component is measured by its region's spacing.
    """
    mask, probability = np.zeros(frame.shape, np.uint8), np.zeros(frame.shape, np.float32)
    found: list[Result] = []
    parts: list[Component] = []
    for region in regions:
        box = region.slices
        result = segmenter.segment(np.ascontiguousarray(frame[box]), region.spacing_mm)
        mask[box], probability[box] = result.mask, result.probability
        parts += (_shift(part, region.left, region.top) for part in result.components)
        found.append(result)
    words = [result.health for result in found if result.health is not None]
    return Result(
        mask=mask,
        probability=probability,
        presence=max(result.presence for result in found),
        components=tuple(sorted(parts, key=lambda part: -part.area_px)),
        spacing_mm=common_spacing(regions),
        times_ms={
            stage: sum(result.times_ms[stage] for result in found) for stage in found[0].times_ms
        },
        health=reduce(or_, words) if words else None,
    )


def _shift(part: Component, x: int, y: int) -> Component:
    left, top, width, height = part.bbox
    (ax, ay), (bx, by) = part.longest_ends
    return dataclasses.replace(
        part,
        bbox=(left + x, top + y, width, height),
        centroid=(part.centroid[0] + x, part.centroid[1] + y),
        contour=part.contour + np.array([x, y], np.int32),
        longest_ends=((ax + x, ay + y), (bx + x, by + y)),
    )
