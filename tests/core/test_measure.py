"""Components and diameters against SciPy, geometry and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts.measure import components

Mask = NDArray[np.bool_]


def _ellipse(
    long: float, short: float, degrees: float, *, centre: tuple[float, float] = (100.3, 90.6)
) -> Mask:
    """An ellipse of the given axes (full lengths) sampled at pixel centres."""
    y, x = np.mgrid[:180, :200]
    u, v = _turn(x - centre[0], y - centre[1], degrees)
    return np.asarray((u / long) ** 2 + (v / short) ** 2 < 0.25)


def _rectangle(long: float, short: float, degrees: float) -> Mask:
    y, x = np.mgrid[:180, :200]
    u, v = _turn(x - 99.7, y - 88.2, degrees)
    return np.asarray((abs(u) < long / 2) & (abs(v) < short / 2))


def _turn(
    x: NDArray[np.float64], y: NDArray[np.float64], degrees: float
) -> tuple[NDArray[np.float64], ...]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x * c + y * s, y * c - x * s


@pytest.mark.parametrize("diameter", [8, 25.5, 60, 121.3])
def test_disc(diameter: float) -> None:
    """A disc measures its diameter within a pixel both ways, its area within 2 %, its centre."""
    (disc,) = components(_ellipse(diameter, diameter, 0))
    assert disc.longest_px == pytest.approx(diameter, abs=1.0)
    assert disc.orthogonal_px == pytest.approx(diameter, abs=1.0)
    assert disc.area_px == pytest.approx(math.pi * diameter**2 / 4, rel=0.02)
    assert disc.centroid == pytest.approx((100.3, 90.6), abs=0.2)


@pytest.mark.parametrize(("ratio", "bias"), [(1.0, 0.9), (0.5, 0.4)])
def test_bias_is_what_the_module_states(ratio: float, bias: float) -> None:
    """Over random sizes, turns and positions the longest diameter is less than a pixel off."""
    rng = np.random.default_rng(0)
    errors = []
    for diameter in rng.uniform(20, 100, 60):
        centre = (100 + rng.uniform(), 90 + rng.uniform())
        mask = _ellipse(diameter, ratio * diameter, rng.uniform(0, 180), centre=centre)
        errors.append(components(mask)[0].longest_px - diameter)
    assert np.abs(errors).max() < 1
    assert np.mean(errors) == pytest.approx(bias, abs=0.1)


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 133])
def test_ellipse(degrees: float) -> None:
    """A turned ellipse measures its two axes, and its longest diameter lies along the first."""
    (ellipse,) = components(_ellipse(120, 50, degrees))
    assert ellipse.longest_px == pytest.approx(120, abs=1.0)
    assert ellipse.orthogonal_px == pytest.approx(50, abs=1.5)
    (x0, y0), (x1, y1) = ellipse.longest_ends
    assert math.hypot(x1 - x0, y1 - y0) == pytest.approx(ellipse.longest_px)
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0)) % 180
    assert min(abs(angle - degrees), 180 - abs(angle - degrees)) < 4


@pytest.mark.parametrize("degrees", [0, 30, 45, 71])
def test_rectangle(degrees: float) -> None:
    """A turned a×b rectangle has its diagonal, and 2ab/diagonal perpendicular to it."""
    a, b = 90, 40
    (rectangle,) = components(_rectangle(a, b, degrees))
    diagonal = math.hypot(a, b)
    assert rectangle.longest_px == pytest.approx(diagonal, abs=1.2)
    assert rectangle.orthogonal_px == pytest.approx(2 * a * b / diagonal, abs=1.5)


def test_diameters_equal_brute_force() -> None:
    """Longest and orthogonal diameter are those of all pairs of all edge midpoints."""
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(4)
    noise = rng.random((40, 50)) < 0.45
    for component in components(noise, min_area=2):
        points = component.contour[:, None] + np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
        points = points.reshape(-1, 2)
        assert component.longest_px == pytest.approx(cdist(points, points).max())
        ends = np.array(component.longest_ends)
        u = (ends[1] - ends[0]) / component.longest_px
        extent = np.ptp(points @ np.array([-u[1], u[0]]))
        assert component.orthogonal_px == pytest.approx(extent)


def test_components_equal_scipy() -> None:
    """Labels, areas, boxes and centroids are SciPy's with 8-connectivity, the largest first."""
    from scipy import ndimage

    mask = np.random.default_rng(1).random((60, 70)) < 0.35
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    expected = sorted(
        (
            int((labels == i + 1).sum()),
            (s[1].start, s[0].start, s[1].stop - s[1].start, s[0].stop - s[0].start),
            tuple(np.round(ndimage.center_of_mass(labels == i + 1)[::-1], 6)),
        )
        for i, s in enumerate(boxes)
    )
    found = components(mask)
    assert sorted((c.area_px, c.bbox, tuple(np.round(c.centroid, 6))) for c in found) == expected
    assert [c.area_px for c in found] == sorted((c.area_px for c in found), reverse=True)
    assert len(components(mask, min_area=5)) == sum(area >= 5 for area, *_ in expected)
    assert count > 5


def test_contour_encloses_the_component() -> None:
    """Filling the contour gives the component back, its hole filled."""
    import cv2

    ring = _ellipse(80, 60, 20) & ~_ellipse(30, 20, 20)
    (component,) = components(ring)
    filled = cv2.fillPoly(np.zeros(ring.shape, np.uint8), [component.contour], 1)
    np.testing.assert_array_equal(filled, _ellipse(80, 60, 20))
    assert component.area_px == ring.sum()


def test_smallest_shapes() -> None:
    """One pixel is 1 px long, a row of five 5 by 1; a mask that fills the image has its extent."""
    mask = np.zeros((9, 9), np.uint8)
    assert components(mask) == []
    mask[4, 4] = 255
    (pixel,) = components(mask)
    assert (pixel.area_px, pixel.bbox, pixel.centroid) == (1, (4, 4, 1, 1), (4.0, 4.0))
    assert (pixel.longest_px, pixel.orthogonal_px) == (1.0, 1.0)
    mask[4, 2:7] = 255
    (row,) = components(mask)
    assert (row.longest_px, row.orthogonal_px) == (5.0, 1.0)
    (full,) = components(np.ones((30, 40), bool))
    assert full.bbox == (0, 0, 40, 30)
    assert full.longest_px == pytest.approx(math.hypot(40, 29))


def test_millimetres() -> None:
    """With a spacing lengths scale by it and areas by its square; without there are none."""
    mask = _ellipse(60, 30, 10)
    (plain,), (scaled,) = components(mask), components(mask, 0.12)
    assert (plain.area_mm2, plain.longest_mm, plain.orthogonal_mm) == (None, None, None)
    assert scaled.area_mm2 == pytest.approx(plain.area_px * 0.0144)
    assert scaled.longest_mm == pytest.approx(plain.longest_px * 0.12)
    assert scaled.orthogonal_mm == pytest.approx(plain.orthogonal_px * 0.12)


def test_wrong_arguments_are_refused() -> None:
    """Probabilities, stacks of masks and spacings that are no length are errors."""
    with pytest.raises(ValueError, match="apply a threshold"):
        components(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        components(np.zeros((1, 4, 4), bool))
    for spacing in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="above 0 mm"):
            components(np.zeros((4, 4), bool), spacing)
