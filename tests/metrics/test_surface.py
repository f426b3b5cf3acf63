"""Surface distances against MONAI, SciPy and geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts.metrics import assd, hd95, surface_distances

Mask = NDArray[np.bool_]


def _blob(seed: int, shape: tuple[int, int] = (60, 80)) -> Mask:
    """A random wavy disc; large seeds touch the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    cy, cx = rng.uniform(15, 45), rng.uniform(15, 65)
    angle = np.arctan2(y - cy, x - cx)
    radius = rng.uniform(5, 22) + rng.uniform(0, 4) * np.sin(rng.integers(2, 7) * angle)
    return np.asarray(np.hypot(y - cy, x - cx) < radius)


def _pairs() -> list[tuple[Mask, Mask]]:
    pairs = [(_blob(2 * seed), _blob(2 * seed + 1)) for seed in range(12)]
    noise = np.random.default_rng(0).random((2, 60, 80)) < 0.05
    pixel = np.zeros((60, 80), bool)
    pixel[3, 70] = True
    return [*pairs, (noise[0], noise[1]), (pixel, _blob(0)), (_blob(0), pixel), (~pixel, pixel)]


def test_distances_equal_scipy() -> None:
    """The distances are SciPy's exact transform, read at SciPy's outline pixels."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    for p, t in _pairs():
        edges = [m & ~binary_erosion(m) for m in (p, t)]
        there, back = surface_distances(p, t)
        np.testing.assert_allclose(there, distance_transform_edt(~edges[1])[edges[0]], rtol=1e-14)
        np.testing.assert_allclose(back, distance_transform_edt(~edges[0])[edges[1]], rtol=1e-14)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # inside MONAI
@pytest.mark.parametrize("spacing", [1.0, 0.15])
def test_hd95_and_assd_equal_monai(spacing: float) -> None:
    """HD95 and ASSD are MONAI's, in pixels and with a spacing."""
    import torch
    from monai.metrics import HausdorffDistanceMetric, SurfaceDistanceMetric

    references = (
        (hd95, HausdorffDistanceMetric(include_background=True, percentile=95, reduction="none")),
        (assd, SurfaceDistanceMetric(include_background=True, symmetric=True, reduction="none")),
    )
    for p, t in _pairs():
        tensors = [torch.tensor(m)[None, None] for m in (p, t)]
        for metric, reference in references:
            expected = reference(*tensors, spacing=spacing).item()
            assert metric(p, t, spacing) == pytest.approx(expected, rel=1e-5), metric.__name__


def test_a_shifted_mask_lies_its_shift_away() -> None:
    """Two pixels d apart have both distances d; identical masks have 0."""
    a, b = np.zeros((2, 50, 50), np.uint8)
    a[10, 10] = b[13, 14] = 1
    assert hd95(a, b) == assd(a, b) == 5.0
    assert hd95(a, b, 0.2) == assd(a, b, 0.2) == pytest.approx(1.0)
    assert hd95(a, a) == assd(a, a) == 0.0


def test_concentric_squares() -> None:
    """The outline pixels of concentric squares 3 px apart: sides at 3, corners at 3·√2."""
    outer, inner = np.zeros((2, 40, 40), bool)
    outer[5:35, 5:35] = inner[8:32, 8:32] = True
    there, back = surface_distances(outer, inner)
    assert set(back) == {3.0}
    assert there.max() == pytest.approx(3 * math.sqrt(2))
    assert (there == 3.0).sum() == 4 * 24


def test_empty_masks() -> None:
    """Two empty masks agree (0); one empty mask is infinitely far from any other."""
    nothing, full = np.zeros((20, 30), bool), np.ones((20, 30), bool)
    for metric in (hd95, assd):
        assert metric(nothing, nothing) == 0.0
        assert metric(nothing, full) == metric(full, nothing) == math.inf
        assert metric(full, full) == 0.0


def test_wrong_masks_are_refused() -> None:
    """Different shapes and volumes are errors."""
    with pytest.raises(ValueError, match="one shape"):
        hd95(np.zeros((3, 4), bool), np.zeros((4, 3), bool))
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        assd(np.zeros((3, 4, 5), bool), np.zeros((3, 4, 5), bool))
