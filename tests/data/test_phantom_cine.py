"""Loops: masks and speckle move as the tissue does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_bts.data.phantom import Lesion, Phantom, simulate_cine
from edge_bts.data.phantom.grid import elevational_weights
from edge_bts.errors import InputError

SIZE = {"height": 200, "width": 240}


@pytest.fixture(scope="module")
def sweep() -> list[Phantom]:
    """A malignant mass swept from side to side; the middle frame is number 7."""
    return simulate_cine(1, "malignant", 15, "sweep", **SIZE)


@pytest.fixture(scope="module")
def breathing() -> list[Phantom]:
    """A benign mass under about half a breath."""
    return simulate_cine(4, "benign", 12, "breathing", **SIZE)


def correlation(first: Phantom, second: Phantom) -> float:
    """Return the correlation of two pictures."""
    return float(np.corrcoef(first.image.ravel(), second.image.ravel())[0, 1])


def test_swept_area_follows_the_ellipsoid(sweep: list[Phantom]) -> None:
    """The mask's area is that of the middle times 1 - (elevation / half thickness)^2."""
    lesion = Lesion(**sweep[0].parameters["lesion"])
    largest = int(sweep[7].mask.sum())
    for frame in sweep:
        law = 1 - (frame.parameters["elevation_mm"] / (lesion.thickness_mm / 2)) ** 2
        assert frame.mask.sum() == pytest.approx(largest * max(0.0, law), abs=0.03 * largest)


def test_sweep_starts_and_ends_beside_the_lesion(sweep: list[Phantom]) -> None:
    """The first and the last frame show no lesion, the middle one the largest section."""
    areas = [int(frame.mask.sum()) for frame in sweep]
    assert areas[0] == areas[-1] == 0
    assert int(np.argmax(areas)) == 7


def test_swept_frames_decorrelate_with_distance(sweep: list[Phantom]) -> None:
    """A frame resembles its neighbour more than one further away."""
    near, middle, far = (correlation(sweep[4], sweep[4 + k]) for k in (1, 3, 8))
    assert near > middle > far


def test_elevational_weights_decorrelate_as_a_gaussian() -> None:
    """Sums seen from two elevations correlate as exp(-(d / length)^2 / 2)."""
    for start in (0.0, 0.37, -2.9):
        for distance in (0.0, 0.3, 1.0, 1.7):
            one, two = (elevational_weights(y, 0.8) for y in (start, start + distance))
            shared = sum(w * two.get(k, 0.0) for k, w in one.items())
            assert shared == pytest.approx(np.exp(-((distance / 0.8) ** 2) / 2), abs=0.02)


def test_breathing_moves_the_masks_centroid(breathing: list[Phantom]) -> None:
    """The mask's centroid follows the recorded displacement within a fifth of a millimetre."""
    spacing = breathing[0].spacing_mm
    centroids = np.array([np.argwhere(f.mask).mean(axis=0)[::-1] for f in breathing]) * spacing
    applied = np.array([f.parameters["displacement_mm"] for f in breathing])
    assert np.ptp(applied[:, 1]) > 0.8
    np.testing.assert_allclose(centroids - centroids[0], applied - applied[0], atol=0.2)


def test_breathing_moves_speckle_with_the_tissue(breathing: list[Phantom]) -> None:
    """A patch at the lesion's depth is found again where the displacement has taken it."""
    lesion, spacing = breathing[0].parameters["lesion"], breathing[0].spacing_mm
    row = int(lesion["z_mm"] / spacing)
    column = int(breathing[0].mask.shape[1] * (0.25 if lesion["x_mm"] / spacing > 120 else 0.75))
    top, left = row - 16, column - 28
    patch = breathing[0].image[top : top + 32, left : left + 56]
    for frame in breathing[1:]:
        match = cv2.matchTemplate(frame.image, patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(match)
        start, now = (np.array(f.parameters["displacement_mm"]) for f in (breathing[0], frame))
        assert best > 0.6
        np.testing.assert_allclose(np.array([x - left, y - top]), (now - start) / spacing, atol=1.6)


def test_normal_loops_have_empty_masks() -> None:
    """A loop of a normal breast has no lesion in any frame."""
    for motion in ("sweep", "breathing"):
        frames = simulate_cine(2, "normal", 3, motion, height=128, width=128)
        assert len(frames) == 3
        assert not any(frame.mask.any() for frame in frames)


def test_same_seed_same_loop() -> None:
    """The seed decides every byte of a loop."""
    one, two = (simulate_cine(9, "benign", 3, "breathing", height=96, width=96) for _ in range(2))
    assert [f.image.tobytes() for f in one] == [f.image.tobytes() for f in two]


@pytest.mark.parametrize(("frames", "motion"), [(0, "sweep"), (3, "swoop")])
def test_bad_loops_are_refused(frames: int, motion: str) -> None:
    """No frames or an unknown motion is an InputError."""
    with pytest.raises(InputError):
        simulate_cine(0, "benign", frames, motion, **SIZE)  # type: ignore[arg-type]
