from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edge_bts import geometry
from edge_bts.errors import InputError
from edge_bts.runtime import Segmenter, to_gray

SIZE = 64


class Echo:
    """A backend that returns the gray level of its input as probability: bright is lesion."""

    name = "torch"
    precision = "fp32"
    threads = 1
    version = "0"
    imgsz = SIZE

    def infer(self, image: Any) -> Any:
        """Undo mean 0.5, std 0.5."""
        return (image * 0.5 + 0.5).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Nothing to say."""
        return {}


@pytest.fixture
def segmenter() -> Segmenter:
    """One that finds what is bright."""
    return Segmenter(Echo(), imgsz=SIZE, mean=0.5, std=0.5)  # type: ignore[arg-type]


def disc(height: int, width: int, radius: int) -> np.ndarray:
    """A bright disc in the middle of a dark frame."""
    frame = np.full((height, width), 20, np.uint8)
    return cv2.circle(frame, (width // 2, height // 2), radius, 230, -1)


@pytest.mark.parametrize("shape", [(64, 64), (63, 201), (201, 63), (1, 7), (333, 250), (640, 480)])
def test_results_are_in_source_geometry(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    """Mask and probability have the size of the frame, whatever it is."""
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    result = segmenter.segment(frame)
    assert result.mask.shape == result.probability.shape == shape
    assert (result.height, result.width) == shape
    assert result.mask.dtype == np.uint8
    assert result.probability.dtype == np.float32
    assert set(np.unique(result.mask)) <= {0, 1}
    assert result.probability.min() >= 0
    assert result.probability.max() <= 1


def test_lesion_comes_back_where_it_was(segmenter: Segmenter) -> None:
    """A disc in an oblong frame is found in its place and size, as geometry promises."""
    frame = disc(240, 400, 50)
    result = segmenter.segment(frame, spacing_mm=0.1)
    truth = frame > 128
    overlap = 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum())
    assert overlap > 0.97
    assert result.present
    (found,) = result.components
    assert found.longest_px == pytest.approx(101, abs=7)
    assert found.longest_mm == pytest.approx(found.longest_px * 0.1)
    assert found.area_mm2 == pytest.approx(result.mask.sum() * 0.01)


def test_threshold_is_that_of_geometry(segmenter: Segmenter) -> None:
    """The mask is the probability at or above the threshold; a higher one gives less."""
    frame = cv2.GaussianBlur(disc(100, 120, 30), (0, 0), 9)
    low, high = (
        Segmenter(segmenter.backend, SIZE, 0.5, 0.5, threshold=value).segment(frame)
        for value in (0.3, 0.7)
    )
    np.testing.assert_array_equal(low.mask, geometry.threshold(low.probability, 0.3))
    np.testing.assert_array_equal(low.probability, segmenter.predict(frame).probability)
    assert 0 < high.mask.sum() < low.mask.sum()


def test_presence_empties_the_mask_and_nothing_else(segmenter: Segmenter) -> None:
    """Below the presence threshold the mask is empty; at it, and the probability, stay."""
    frame = disc(120, 160, 20)
    free = segmenter.segment(frame)
    assert 0.85 < free.presence == segmenter.predict(frame).presence < 1
    reached, missed = (
        Segmenter(segmenter.backend, SIZE, 0.5, 0.5, presence_threshold=value).segment(frame)
        for value in (free.presence, np.nextafter(free.presence, 1))
    )
    np.testing.assert_array_equal(reached.mask, free.mask)
    assert reached.present
    assert not missed.present
    assert not missed.mask.any()
    assert missed.components == ()
    np.testing.assert_array_equal(missed.probability, free.probability)
    assert missed.presence == free.presence


def test_empty_frame_has_no_components(segmenter: Segmenter) -> None:
    """Where nothing is found the mask is empty and nothing is measured."""
    result = segmenter.segment(np.zeros((50, 70), np.uint8))
    assert not result.present
    assert result.components == ()
    assert result.mask.sum() == 0


def test_times_name_the_stages(segmenter: Segmenter) -> None:
    """Every frame says how long each stage took."""
    times = segmenter.segment(disc(60, 60, 9)).times_ms
    assert list(times) == ["preprocess", "inference", "postprocess"]
    assert all(value >= 0 for value in times.values())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_equal_channels_are_gray(segmenter: Segmenter, channels: int) -> None:
    """Gray stored as BGR or BGRA gives the result of the gray frame, bit for bit."""
    gray = np.random.default_rng(2).integers(0, 256, (90, 70), np.uint8)
    colour = np.repeat(gray[:, :, None], channels, axis=2)
    if channels == 4:
        colour[:, :, 3] = 255
    np.testing.assert_array_equal(to_gray(colour), gray)
    came, expected = segmenter.predict(colour), segmenter.predict(gray)
    np.testing.assert_array_equal(came.probability, expected.probability)
    assert came.presence == expected.presence


def test_views_are_taken(segmenter: Segmenter) -> None:
    """A frame may be a view with strides, as a crop is."""
    frame = np.random.default_rng(3).integers(0, 256, (120, 160), np.uint8)
    crop = frame[10:90:2, 5:155:3]
    np.testing.assert_array_equal(
        segmenter.predict(crop).probability,
        segmenter.predict(np.ascontiguousarray(crop)).probability,
    )


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.float32),
        np.zeros((10, 10), np.uint16),
        np.zeros((0, 10), np.uint8),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((2, 10, 10, 3), np.uint8),
        [[0, 1], [1, 0]],
        None,
    ],
)
def test_other_frames_are_refused(segmenter: Segmenter, frame: Any) -> None:
    """Another dtype or shape is an InputError that says what came."""
    with pytest.raises(InputError, match="but got"):
        segmenter.segment(frame)


@pytest.mark.parametrize("spacing", [0.0, -0.1, float("nan"), float("inf")])
def test_spacing_must_be_positive(segmenter: Segmenter, spacing: float) -> None:
    """A spacing that is no positive number is refused."""
    with pytest.raises(InputError, match="spacing above 0"):
        segmenter.segment(np.zeros((8, 8), np.uint8), spacing_mm=spacing)


def test_settings_are_checked() -> None:
    """A threshold outside (0, 1) or [0, 1) and a network of another size are refused."""
    with pytest.raises(InputError, match="threshold between 0 and 1"):
        Segmenter(Echo(), SIZE, 0.5, 0.5, threshold=1.0)  # type: ignore[arg-type]
    for value in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="presence threshold of at least 0 and below 1"):
            Segmenter(Echo(), SIZE, 0.5, 0.5, presence_threshold=value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="do not belong together"):
        Segmenter(Echo(), 2 * SIZE, 0.5, 0.5)  # type: ignore[arg-type]
