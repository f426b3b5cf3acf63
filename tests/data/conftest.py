"""Small data sets that the tests make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

U8 = npt.NDArray[np.uint8]


def speckle(seed: int, height: int = 40, width: int = 50) -> U8:
    """Noise with blobs of a few thumbnail pixels: unlike for every two seeds."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(128 + 90 * smooth / smooth.std() / 2, 0, 255).astype(np.uint8)


def disc(height: int = 40, width: int = 50, x: int = 20, y: int = 18, radius: int = 6) -> U8:
    """A mask 0/255 with one disc."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (x, y), radius, 255, -1)
    return mask


def write(path: Path, image: npt.NDArray[np.generic]) -> Path:
    """Write an image, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def make_busi(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a BUSI folder of that many images per class."""

    def make(benign: int = 4, malignant: int = 3, normal: int = 2, seed: int = 0) -> Path:
        root = tmp_path / "busi"
        counts = {"benign": benign, "malignant": malignant, "normal": normal}
        for category, count in counts.items():
            for number in range(1, count + 1):
                seed += 1
                stem = root / category / f"{category} ({number})"
                write(stem.with_name(f"{stem.name}.png"), speckle(seed))
                mask = np.zeros((40, 50), np.uint8) if category == "normal" else disc()
                write(stem.with_name(f"{stem.name}_mask.png"), mask)
        return root

    return make


@pytest.fixture
def make_busbra(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a BUS-BRA folder with two images of every patient."""

    def make(patients: int = 10) -> Path:
        root = tmp_path / "BUSBRA"
        data = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"]
        folds = ["ID,Pathology,kFold,valid_1"]
        for case in range(1, patients + 1):
            pathology = "malignant" if case % 3 == 0 else "benign"
            for side in "lr":
                name = f"{case:04d}-{side}"
                write(root / "Images" / f"bus_{name}.png", speckle(10 * case + ord(side)))
                write(root / "Masks" / f"mask_{name}.png", disc())
                data.append(f'bus_{name},{case},x,{pathology},4,d,999,999,left,"[1,2,3,4]"')
                folds.append(f"bus_{name},{pathology},{case % 5 + 1},NaN")
        (root / "bus_data.csv").write_text("\n".join(data))
        (root / "5-fold-cv.csv").write_text("\n".join(folds))
        return root

    return make


@pytest.fixture
def make_plain(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a plain folder, with ``samples.csv`` of these lines."""

    def make(count: int = 3, table: list[str] | None = None) -> Path:
        root = tmp_path / "mine"
        for number in range(count):
            write(root / "images" / f"img{number}.png", speckle(100 + number))
            write(root / "masks" / f"img{number}.png", disc())
        if table is not None:
            (root / "samples.csv").write_text("\n".join(table))
        return root

    return make
