"""Which part of a DICOM ultrasound frame is tissue, and how large its pixels are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Region", "tissue_regions"]

_2D, _TISSUE, _CM = 1, 1, 3  # PS3.3 C.8.5.5.1.1, .2 and .15
_SQUARE = 0.01  # how far apart the sides of a pixel may be for one figure to stand for both


@dataclass(frozen=True)
class Region:
    """A box of a frame in pixels, and the millimetres of one pixel; None where unknown."""

    left: int
    top: int
    width: int
    height: int
    spacing_mm: float | None

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the box, as an array of H x W takes them."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def tissue_regions(
    items: Sequence[Mapping[str, float | None]],
    rows: int,
    columns: int,
    pixel_spacing: Sequence[float] = (),
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """Choose the 2D tissue regions of Sequence of Ultrasound Regions (0018,6011).

    All items with Region Spatial Format 2D and Region Data Type Tissue count whose box lies in
    the frame and does not overlap one before. The spacing is known where both physical units are
    cm and both deltas are numbers other than 0 (their sign is a direction) that differ by at most
    1 %: then it is their geometric mean, so that areas are exact. A Pixel Spacing of the frame
    that contradicts a region takes its spacing away; alone it gives none, as it does not say
    which part of the frame it holds for.

    Args:
        items: Numbers of each item, by the keys of the worker's header; None: missing.
        rows: Of the frame.
        columns: Of the frame.
        pixel_spacing: Between rows and columns in mm, where it is given.

    Returns:
        The regions in their order, and notes on what was left out. No region: the whole frame,
        without a spacing.
    """
    notes: list[str] = []
    found: list[Region] = []
    for number, item in enumerate(items, 1):
        if item["format"] != _2D or item["data"] != _TISSUE:
            continue
        box = _box(item, rows, columns)
        if box is None:
            notes.append(f"its region {number} has no box in the frame and is left out")
        elif any(_overlap(box, region) for region in found):
            notes.append(f"its region {number} overlaps one before and is left out")
        else:
            spacing, why = _spacing(item, pixel_spacing)
            if why:
                notes.append(f"its region {number} is measured in pixels: {why}")
            found.append(Region(*box, spacing))
    if not found:
        notes.append("it has no 2D tissue region: the whole frame is taken, measured in pixels")
    return tuple(found), tuple(notes)


def _box(
    item: Mapping[str, float | None], rows: int, columns: int
) -> tuple[int, int, int, int] | None:
    """Return left, top, width, height. The corners belong to the box; some writers end past it."""
    corners = [item[key] for key in ("x0", "y0", "x1", "y1")]
    if any(corner is None for corner in corners):
        return None
    x0, y0, x1, y1 = (int(corner) for corner in corners if corner is not None)
    if not (0 <= x0 <= x1 <= columns and 0 <= y0 <= y1 <= rows and x0 < columns and y0 < rows):
        return None
    return x0, y0, min(x1, columns - 1) - x0 + 1, min(y1, rows - 1) - y0 + 1


def _overlap(box: tuple[int, int, int, int], region: Region) -> bool:
    left, top, width, height = box
    return (
        left < region.left + region.width
        and region.left < left + width
        and top < region.top + region.height
        and region.top < top + height
    )


def _spacing(
    item: Mapping[str, float | None], pixel_spacing: Sequence[float]
) -> tuple[float | None, str]:
    if item["units_x"] != _CM or item["units_y"] != _CM:
        return None, "its units are not cm"
    x, y = (abs(item[key] or 0.0) * 10 for key in ("delta_x", "delta_y"))
    if not (1e-4 <= x <= 10 and 1e-4 <= y <= 10):
        return None, "its physical deltas are missing, zero or no length of a pixel"
    if not _agree(x, y):
        return None, f"its pixels are not square ({x:g} x {y:g} mm)"
    if len(pixel_spacing) == 2 and not (
        _agree(x, pixel_spacing[1]) and _agree(y, pixel_spacing[0])
    ):
        return None, "Pixel Spacing contradicts its physical deltas"
    return math.sqrt(x * y), ""


def _agree(a: float, b: float) -> bool:
    return abs(a - b) <= _SQUARE * max(a, b)
