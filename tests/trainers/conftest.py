"""A tiny data set and tiny settings: every training here ends in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_bts.models import ModelSpec
from edge_bts.trainers.runs import Inputs, open_inputs
from edge_bts.trainers.settings import (
    AugmentSettings,
    DistillSettings,
    LoopSettings,
    TrainSettings,
)


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain data set of 30 noisy images: dark discs are lesions, benign ones the larger."""
    folder = tmp_path_factory.mktemp("blobs")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,category,group,spacing_mm"]
    for index in range(30):
        category = ("benign", "malignant", "normal")[index % 3]
        image = rng.normal(150, 25, (48, 64))
        mask = np.zeros((48, 64), np.uint8)
        if category != "normal":
            centre = (int(rng.integers(20, 44)), int(rng.integers(18, 30)))
            cv2.circle(mask, centre, 12 if category == "benign" else 8, 255, -1)
        image[mask > 0] -= 100
        cv2.imwrite(str(folder / "images" / f"{index:02d}.png"), image.clip(0, 255).astype("uint8"))
        cv2.imwrite(str(folder / "masks" / f"{index:02d}.png"), mask)
        rows.append(f"{index:02d},{category},{index:02d},0.1")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def inputs(blobs: Path) -> Inputs:
    """All images of the data set, split with seed 0."""
    return open_inputs(blobs, None)


@pytest.fixture(scope="session")
def loop() -> LoopSettings:
    """Four epochs in fp32 on the CPU."""
    return LoopSettings(epochs=4, batch=4, lr=1e-2, warmup_epochs=0, precision="fp32", device="cpu")


@pytest.fixture(scope="session")
def teacher_settings(loop: LoopSettings) -> TrainSettings:
    """The narrowest teacher at 32 px."""
    model = ModelSpec(name="attention_unet", options={"width": 8})
    augment = AugmentSettings.off(flip=0.5, affine=0.9)  # discs of 32 px have no grain to spare
    return TrainSettings(model=model, imgsz=32, loop=loop, augment=augment)


@pytest.fixture(scope="session")
def student_settings(loop: LoopSettings) -> DistillSettings:
    """The nano student at 64 px, twice the teachers' size."""
    model = ModelSpec(name="simplified_unet", options={"base": 16})
    return DistillSettings(model=model, imgsz=64, loop=loop)
