"""``edge-bts train``: one network on masks alone; the teachers are made here."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from edge_bts.cli import _options as opt


class Category(str, Enum):
    """Which images to train on."""

    benign = "benign"
    malignant = "malignant"
    all = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    data: opt.Data,
    output: opt.Output,
    category: Annotated[Category, typer.Option(help="Images to train on.")] = Category.all,
    split: opt.SplitFile = None,
    start: opt.Start = None,
    config: opt.Config = None,
    set_: opt.Overrides = None,
    imgsz: opt.Imgsz = None,
    batch: opt.Batch = None,
    epochs: opt.Epochs = None,
    lr: opt.LearningRate = None,
    seed: opt.Seed = None,
    device: opt.Device = None,
    precision: opt.Precision = None,
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Train a teacher (or any registered network) on one class or on all images."""
    from edge_bts.cli._process import announce, keep_freed_memory
    from edge_bts.extras import need_extra

    need_extra("train", "torch", "lightning_fabric", "kornia")
    keep_freed_memory()

    from edge_bts.config import load_recipe, settings
    from edge_bts.trainers import runs
    from edge_bts.trainers.settings import TrainSettings

    chosen = settings(
        TrainSettings,
        load_recipe(config, set_ or ()),
        "train",
        imgsz=imgsz,
        loop__batch=batch,
        loop__epochs=epochs,
        loop__lr=lr,
        loop__seed=seed,
        loop__device=device,
        loop__precision=precision,
    )
    inputs = runs.open_inputs(data, split, category.value)
    announce(f"{chosen.model} at {chosen.imgsz} px on {category.value} images. {inputs}")
    if dry_run:
        announce(chosen.model_dump_json(indent=2))
        return
    runs.train(inputs, category.value, chosen, output, start=start, resume=resume, force=force)
