"""Reading golden frames back, and the difference from them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_bts.errors import InputError
from edge_bts.golden import difference, read_golden

SIDE = 32
FRAMES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)


def packed(frames: np.ndarray = FRAMES) -> bytes:
    """What export writes for a network that halves the pixel."""
    from edge_bts.export.golden import Golden, pack_golden

    return pack_golden(
        Golden(frames, np.zeros_like(frames)),
        lambda image: image / 2,
        [lambda image: image / 2 + np.float32(0.01)],
        lambda frame: (frame / 255).astype(np.float32),
        0.4,
    )


def test_what_export_writes_is_read() -> None:
    """Frames, answers, threshold; the tolerance is four times what the backend showed."""
    golden = read_golden(packed(), SIDE)
    np.testing.assert_array_equal(golden.frames, FRAMES)
    np.testing.assert_allclose(golden.probability, FRAMES / 510, atol=1e-6)
    assert golden.threshold == 0.4
    assert golden.tolerance.mean_abs == pytest.approx(0.04, rel=1e-4)
    assert golden.tolerance.pixels >= 0.005


@pytest.mark.parametrize("content", [b"", b"not safetensors", packed()[:100]])
def test_damaged_frames_are_refused(content: bytes) -> None:
    """One sentence, not the library's exception."""
    with pytest.raises(InputError, match=r"golden\.safetensors"):
        read_golden(content, SIDE)


def test_frames_of_another_size_are_refused() -> None:
    """They must fit the bundle's own geometry."""
    with pytest.raises(InputError, match="it holds"):
        read_golden(packed(FRAMES[:, :16, :16].copy()), SIDE)


def test_differences_are_means_over_pixels() -> None:
    """Half of the pixels 0.2 off and across the threshold: 0.1 and 50 %."""
    expected = np.full((4, 4), 0.45, np.float32)
    came = expected.copy()
    came[:2] += 0.2
    mean_abs, pixels = difference(came, expected, 0.5)
    assert mean_abs == pytest.approx(0.1)
    assert pixels == 0.5


def test_no_number_differs_by_one() -> None:
    """NaN and infinity are as far away as probability can be."""
    came = np.array([[np.nan, np.inf], [0.0, 0.0]], np.float32)
    assert difference(came, np.zeros((2, 2), np.float32), 0.5)[0] == pytest.approx(0.5)
