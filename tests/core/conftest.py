"""Samples to evaluate on, and a segmenter whose finds are drawn by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_bts.data import Sample
from edge_bts.presence import presence
from edge_bts.runtime import Prediction

WriteSample = Callable[..., Sample]


class GrayIsProbability:
    """A segmenter whose probability is the gray value: what it finds is drawn by the test."""

    threshold = 0.5
    presence_threshold = 0.0

    def predict(self, frame: NDArray[np.uint8], /) -> Prediction:
        """Return gray/255, and its presence score."""
        probability = (frame / np.float32(255)).astype(np.float32)
        return Prediction(probability, presence(probability))


def _disc(x: int, radius: float) -> NDArray[np.bool_]:
    yy, xx = np.mgrid[:90, :120]
    return np.asarray(np.hypot(yy - 45, xx - x) < radius)


def _sample(
    folder: Path, name: str, image: NDArray[np.uint8], mask: NDArray[np.bool_], **fields: object
) -> Sample:
    paths = folder / f"{name}.png", folder / f"{name}_mask.png"
    cv2.imwrite(str(paths[0]), image)
    cv2.imwrite(str(paths[1]), mask.astype(np.uint8) * 255)
    values = {"group": name, "category": "benign", "spacing_mm": None} | fields
    return Sample(id=name, image_path=paths[0], mask_paths=(paths[1],), **values)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Eight lesions with noisy, shifted predictions, one missed lesion, three normals."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    made = []
    for number in range(8):
        mask = _disc(50, 6 + 4 * number)
        hit = _disc(50 + number, 6 + 3 * number)
        image = np.clip(rng.normal(60, 20, mask.shape) + 120 * hit, 0, 255).astype(np.uint8)
        category = "malignant" if number % 2 else "benign"
        made.append(
            _sample(folder, f"l{number}", image, mask, category=category, spacing_mm=0.1 + number,
                    group=f"g{number // 2}")
        )  # fmt: skip
    dark = np.zeros((90, 120), np.uint8)
    made.append(_sample(folder, "missed", dark, _disc(60, 9), category="malignant"))
    speck = dark.copy()
    speck[3:5, 7:10] = 200
    for name, image in (("n0", dark), ("n1", speck), ("n2", dark)):
        made.append(_sample(folder, name, image, _disc(0, 0), category="normal"))
    return made


@pytest.fixture
def by_gray() -> GrayIsProbability:
    """The segmenter that takes gray for probability."""
    return GrayIsProbability()


@pytest.fixture
def write_sample() -> WriteSample:
    """Write an image and its mask, name the sample: (folder, name, image, mask, **fields)."""
    return _sample
