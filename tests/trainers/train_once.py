"""A batch norm and two short trainings: ``python train_once.py FOLDER BATCH``, or by torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from edge_bts.models import Checkpoint, ModelSpec, build_model
from edge_bts.trainers.augment import AugmentSettings
from edge_bts.trainers.data import TensorData
from edge_bts.trainers.distributed import whole_batch_norm
from edge_bts.trainers.loop import fit, make_fabric
from edge_bts.trainers.settings import DistillSettings, LoopSettings
from edge_bts.trainers.tasks import DistillTask, SupervisedTask
from edge_bts.trainers.teachers import Network, Teacher

TAPS = ("decoder1", "decoder2")


def squares(count: int, seed: int) -> TensorData:
    """Return noise of 64 px whose brighter quarter is the lesion, of each category in turn."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 200, (count, 1, 64, 64), generator=generator, dtype=torch.uint8)
    masks = torch.zeros_like(images)
    categories = torch.arange(count) % 4
    for index in range(count):
        if categories[index] != 2:
            top, left = torch.randint(0, 32, (2,), generator=generator).tolist()
            masks[index, 0, top : top + 32, left : left + 32] = 1
    return TensorData(images + 55 * masks, masks, categories)


def teacher(category: str, seed: int) -> Teacher:
    """Return the narrowest teacher with random weights."""
    torch.manual_seed(seed)
    spec = ModelSpec(name="attention_unet", options={"width": 8})
    about = Checkpoint(
        model=spec,
        role="teacher",
        category=category,  # type: ignore[arg-type]
        imgsz=32,
        mean=0.5,
        std=0.2,
    )
    return Teacher(build_model(spec), about, TAPS)


def norm(fabric: Fabric) -> dict[str, torch.Tensor]:
    """Return what a step of batch norm does to this process's share of 8 maps."""
    generator = torch.Generator().manual_seed(3)
    x = 100 + 3 * torch.randn(8, 5, 6, 6, generator=generator)
    taught = torch.randn(8, 5, 6, 6, generator=generator)
    layer = torch.nn.BatchNorm2d(5, momentum=0.3)
    share = slice(fabric.global_rank, None, fabric.world_size)
    x = x[share].requires_grad_()
    with whole_batch_norm(layer, fabric):
        y = layer(x)
        (y * taught[share]).sum().backward()
    assert type(layer) is torch.nn.BatchNorm2d
    assert x.grad is not None
    return {"y": y.detach(), "gradient": x.grad, **layer.state_dict()}


def main(folder: Path, batch: int) -> None:
    """Train a student by masks, then one by two teachers."""
    loop = LoopSettings(
        epochs=3, batch=batch, lr=1e-4, warmup_epochs=0, precision="fp32", device="cpu"
    )
    settings = DistillSettings(loop=loop)
    fabric = make_fabric(loop)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(norm(fabric), folder / f"norm{fabric.global_rank}.pt")
    for name in ("supervised", "distilled"):
        torch.manual_seed(0)
        spec = ModelSpec(name="simplified_unet", options={"base": 16})
        network = Network(build_model(spec), 0.5, 0.2)
        task = (
            SupervisedTask(network)
            if name == "supervised"
            else DistillTask(network, teacher("benign", 1), teacher("malignant", 2), settings)
        )
        (folder / name).mkdir(exist_ok=True)
        fit(
            task,
            squares(26, 1),
            squares(9, 2),
            loop,
            AugmentSettings.off(),
            folder=folder / name,
            save=lambda _module, _epoch, _metrics: None,
            fabric=fabric,
            fingerprint=name,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
