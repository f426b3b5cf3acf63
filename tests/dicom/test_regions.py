"""Which regions are segmented, and when a pixel has millimetres."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edge_bts.dicom.regions import Region, tissue_regions

ROWS, COLUMNS = 100, 200


def item(**changes: float | None) -> dict[str, float | None]:
    """A calibrated 2D tissue region of 80 x 60 pixels of 0.1 mm."""
    return {
        "format": 1, "data": 1, "units_x": 3, "units_y": 3, "delta_x": 0.01, "delta_y": 0.01,
        "x0": 10, "y0": 20, "x1": 89, "y1": 79,
    } | changes  # fmt: skip


def test_the_corners_belong_to_the_box() -> None:
    """A box from 10 to 89 is 80 pixels wide, and its deltas in cm are millimetres."""
    (found,), notes = tissue_regions([item()], ROWS, COLUMNS)
    assert found == Region(10, 20, 80, 60, pytest.approx(0.1))
    assert found.slices == (slice(20, 80), slice(10, 90))
    assert notes == ()


def test_regions_of_other_kinds_are_passed_over() -> None:
    """Colour flow (2), spectral Doppler (format 3) and graphics are no 2D tissue."""
    others = [item(data=2), item(format=3), item(data=12), item(format=None), item(data=None)]
    found, notes = tissue_regions([*others, item()], ROWS, COLUMNS)
    assert [r.left for r in found] == [10]
    assert notes == ()


def test_panes_side_by_side_are_both_taken() -> None:
    """In their order, each with its own spacing."""
    pane = item(x0=100, x1=199, delta_x=0.02, delta_y=0.02)
    found, _ = tissue_regions([item(), pane], ROWS, COLUMNS)
    assert [(r.left, r.width, r.spacing_mm) for r in found] == [
        (10, 80, pytest.approx(0.1)),
        (100, 100, pytest.approx(0.2)),
    ]


@pytest.mark.parametrize(
    ("changes", "spacing"),
    [
        ({"delta_x": -0.01}, 0.1),  # a sign is a direction
        ({"delta_x": 0.01005}, 0.1 * math.sqrt(1.005)),  # areas stay exact
    ],
)
def test_spacing_is_the_length_of_a_side(changes: dict[str, Any], spacing: float) -> None:
    """Whatever its direction; sides that agree within 1 % stand for a square of their area."""
    (found,), notes = tissue_regions([item(**changes)], ROWS, COLUMNS)
    assert found.spacing_mm == pytest.approx(spacing)
    assert notes == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"units_x": 4}, "not cm"),
        ({"units_y": None}, "not cm"),
        ({"delta_x": 0.0}, "missing, zero"),
        ({"delta_y": None}, "missing, zero"),
        ({"delta_x": 3.0, "delta_y": 3.0}, "no length of a pixel"),
        ({"delta_y": 0.0102}, "not square"),
    ],
)
def test_a_doubtful_calibration_gives_pixels(changes: dict[str, Any], why: str) -> None:
    """The region is segmented all the same, and a note says why it has no millimetres."""
    (found,), (note,) = tissue_regions([item(**changes)], ROWS, COLUMNS)
    assert found.spacing_mm is None
    assert why in note


def test_pixel_spacing_may_contradict_but_not_calibrate() -> None:
    """Where it agrees nothing changes; where not, nobody knows; alone it gives no millimetres."""
    (agreed,), _ = tissue_regions([item()], ROWS, COLUMNS, (0.1, 0.1))
    assert agreed.spacing_mm == pytest.approx(0.1)
    (doubted,), (note,) = tissue_regions([item()], ROWS, COLUMNS, (0.1, 0.2))
    assert doubted.spacing_mm is None
    assert "contradicts" in note
    alone, (note,) = tissue_regions([], ROWS, COLUMNS, (0.1, 0.1))
    assert alone == ()
    assert "whole frame" in note


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({"x1": 200, "y1": 100}, (10, 20, 190, 80)),  # one past the end, as some writers count
        ({"x0": 0, "y0": 0, "x1": 0, "y1": 0}, (0, 0, 1, 1)),
    ],
)
def test_boxes_end_in_the_frame(changes: dict[str, Any], box: tuple[int, ...]) -> None:
    """A corner that lies on the frame's far edge is its last pixel."""
    (found,), _ = tissue_regions([item(**changes)], ROWS, COLUMNS)
    assert (found.left, found.top, found.width, found.height) == box


@pytest.mark.parametrize(
    "changes",
    [
        {"x0": None},
        {"x0": -1},
        {"x1": 201},
        {"y1": 4294967295},
        {"x0": 90},
        {"y0": 80},
        {"x0": 200, "x1": 200},
    ],
)
def test_boxes_outside_are_left_out(changes: dict[str, Any]) -> None:
    """With a note; no other region: the whole frame."""
    found, notes = tissue_regions([item(**changes)], ROWS, COLUMNS)
    assert found == ()
    assert "no box in the frame" in notes[0]
    assert "whole frame" in notes[1]


def test_a_region_over_another_is_left_out() -> None:
    """No lesion is counted twice; boxes that only touch are two."""
    found, (note,) = tissue_regions([item(), item(x0=89, x1=150)], ROWS, COLUMNS)
    assert len(found) == 1
    assert "region 2 overlaps" in note
    found, notes = tissue_regions([item(), item(x0=90, x1=150)], ROWS, COLUMNS)
    assert len(found) == 2
    assert notes == ()
