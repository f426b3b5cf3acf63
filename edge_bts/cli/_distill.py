"""``edge-bts distill``: two class teachers into one student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_bts.cli import _options as opt


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("distill")(distill)


def distill(
    data: opt.Data,
    output: opt.Output,
    teachers: Annotated[
        tuple[Path, Path],
        typer.Option("--teachers", help="Checkpoints of the benign and the malignant teacher."),
    ],
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
    """Distil a benign and a malignant teacher into one Simplified U-Net."""
    from edge_bts.cli._process import announce, keep_freed_memory
    from edge_bts.extras import need_extra

    need_extra("train", "torch", "lightning_fabric", "kornia")
    keep_freed_memory()

    from edge_bts.config import load_recipe, settings
    from edge_bts.trainers import runs
    from edge_bts.trainers.settings import DistillSettings

    chosen = settings(
        DistillSettings,
        load_recipe(config, set_ or ()),
        "distill",
        imgsz=imgsz,
        loop__batch=batch,
        loop__epochs=epochs,
        loop__lr=lr,
        loop__seed=seed,
        loop__device=device,
        loop__precision=precision,
    )
    inputs = runs.open_inputs(data, split)
    announce(f"{chosen.model} at {chosen.imgsz} px, route {chosen.route}. {inputs}")
    if dry_run:
        announce(chosen.model_dump_json(indent=2))
        return
    runs.distill(inputs, teachers, chosen, output, start=start, resume=resume, force=force)
