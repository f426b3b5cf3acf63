"""``edge-bts data augment``: a picture of what training does to its images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.data import Sample

__all__ = ["register"]

_SHOWN = 3  # images of each row


def register(data_app: typer.Typer) -> None:
    """Add the command to ``edge-bts data``."""
    data_app.command("augment")(augment)


def augment(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write, PNG.")],
    config: opt.Config = None,
    set_: opt.Overrides = None,
    imgsz: opt.Imgsz = None,
    seed: Annotated[int, typer.Option(help="Seed of images and changes.")] = 0,
    layout: Annotated[str, typer.Option(help="auto, busi, busbra, datasetb or plain.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Draw each change of augmentation with its physical reason, then all of them together.

    Shows section ``[train]`` of the recipe; --set train.augment.gain=0 turns a change off.
    """
    from edge_bts.extras import need_extra
    from edge_bts.files import refuse_existing

    need_extra("train", "torch", "kornia")
    refuse_existing(output, force)

    import torch

    from edge_bts.config import load_recipe, settings
    from edge_bts.data import open_dataset
    from edge_bts.data.contact_sheet import write_png
    from edge_bts.trainers.augment.sheet import draw_sheet
    from edge_bts.trainers.data import TensorData
    from edge_bts.trainers.settings import TrainSettings

    chosen = settings(TrainSettings, load_recipe(config, set_ or ()), "train", imgsz=imgsz)
    samples = _draw(open_dataset(path, layout).samples, seed)
    batch = next(TensorData.read(samples, chosen.imgsz, torch.device("cpu")).in_order(len(samples)))
    write_png(output, draw_sheet(batch.image, batch.mask, chosen.augment, seed))
    print(f"{output}: every change on {len(samples)} images of {path}")


def _draw(samples: tuple[Sample, ...], seed: int) -> list[Sample]:
    """Draw images of the lesion's categories in turn, of normals only where there is no other."""
    import random

    from edge_bts.data import CATEGORIES

    found = [[s for s in samples if s.category == category] for category in CATEGORIES]
    lesions = [part for part, name in zip(found, CATEGORIES, strict=True) if name != "normal"]
    parts = [part for part in lesions if part] or [list(samples)]
    dice = random.Random(seed)
    for part in parts:
        dice.shuffle(part)
    turns = [part[k] for k in range(_SHOWN) for part in parts if k < len(part)]
    return turns[:_SHOWN]
