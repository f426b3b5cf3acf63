"""One small student, trained for seconds on dark discs, and the bundle made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("nncf")
torch = pytest.importorskip("torch")

SIZE = 64


@dataclass(frozen=True)
class Workshop:
    """What the export tests share.

    Attributes:
        data: A data set in the plain layout.
        checkpoint: Path of the student.
        module: The student with its batch norms, in ``eval`` mode.
        folded: The same without them.
        quantized: INT8 by calibration alone.
        plan: What was decided for its layers.
        images: Normalised images (1, 1, S, S).
    """

    data: Path
    checkpoint: Path
    module: Any
    folded: Any
    quantized: Any
    plan: Any
    images: list[Any]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make data, a student that finds the discs, and its quantized form."""
    from edge_bts.data import make_split, open_dataset
    from edge_bts.export.fold import fold_batch_norm
    from edge_bts.export.quantize import quantize
    from edge_bts.export.settings import QuantizeSettings
    from edge_bts.models import Checkpoint, ModelSpec, build_model, load_checkpoint, save_checkpoint

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("export")
    data = folder / "discs"
    frames, masks = _write_discs(data, 24)
    spec = ModelSpec(name="simplified_unet", options={"base": 16})
    torch.manual_seed(0)  # whatever ran before
    module = _train(build_model(spec), frames, masks)
    checkpoint = Checkpoint(
        model=spec,
        role="student",
        category="all",
        imgsz=SIZE,
        mean=0.5,
        std=0.25,
        dataset="discs",
        split_hash=make_split(open_dataset(data), seed=0).hash,
    )
    path = folder / "student.safetensors"
    save_checkpoint(path, module, checkpoint)
    module, _ = load_checkpoint(path)
    folded = fold_batch_norm(module)
    images = list(_normalised(frames[:6]).split(1))
    quantized, plan = quantize(folded, images, QuantizeSettings())
    return Workshop(data, path, module, folded, quantized, plan, images)


@pytest.fixture(scope="session")
def request_int8(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the shared bundle was asked for."""
    from edge_bts.export.pipeline import Request
    from edge_bts.export.settings import ExportSettings

    settings = ExportSettings.model_validate(
        {
            "qat": {"epochs": 1, "batch": 8},
            "quantize": {"calibration_images": 6},
            # Two validation images: their measures of size say nothing.
            "gates": {
                "min_images": 2,
                "cine_loops": 1,
                "cine_frames": 4,
                "area": 1.0,
                "longest_diameter": 1.0,
                "hd95": 1.0,
                "threshold_shift": 1.0,
            },
        }
    )
    output = tmp_path_factory.mktemp("bundles") / "discs.ebts"
    return Request(workshop.checkpoint, output, settings, data=workshop.data)


@pytest.fixture(scope="session")
def bundle(request_int8: Any) -> Any:
    """An INT8 bundle, made by the whole pipeline."""
    from edge_bts.export.pipeline import export

    return export(request_int8, say=lambda _: None)


def _normalised(frames: np.ndarray) -> Any:
    return (torch.from_numpy(frames).float()[:, None] / 255 - 0.5) / 0.25


def _write_discs(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    frames = rng.integers(140, 220, (count, SIZE, SIZE)).astype(np.uint8)
    masks = np.zeros_like(frames)
    for index in range(count):
        x, y = (int(v) for v in rng.integers(16, SIZE - 16, 2))
        a, b = (int(v) for v in rng.integers(7, 14, 2))
        cv2.ellipse(masks[index], (x, y), (a, b), int(rng.integers(180)), 0, 360, 1, -1)
        frames[index][masks[index] > 0] //= 3
        cv2.imwrite(str(folder / "images" / f"{index:03}.png"), frames[index])
        cv2.imwrite(str(folder / "masks" / f"{index:03}.png"), masks[index] * 255)
    return frames, masks


def _train(module: Any, frames: np.ndarray, masks: np.ndarray) -> Any:
    x, y = _normalised(frames), torch.from_numpy(masks).float()[:, None]
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    module.train()
    for step in range(60):
        part = torch.arange(step * 8, step * 8 + 8) % len(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module(x[part]), y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()
