"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

__all__ = [
    "AllowUnsigned",
    "Batch",
    "Config",
    "Data",
    "Device",
    "DryRun",
    "Epochs",
    "Force",
    "Imgsz",
    "LearningRate",
    "Output",
    "Overrides",
    "Precision",
    "Resume",
    "Seed",
    "SplitFile",
    "Start",
    "Trust",
    "evenly",
]

T = TypeVar("T")

Data = Annotated[Path, typer.Option("--data", help="Folder of a data set (see data inspect).")]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", help="Split file (data split); default: the split of seed 0."),
]
Start = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint whose weights are the first, e.g. a joint teacher to specialise."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")]
Config = Annotated[
    str | None, typer.Option("--config", help="Recipe: a TOML file or a shipped name.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override of the recipe: section.key=value; repeatable."),
]
Imgsz = Annotated[int | None, typer.Option("--imgsz", help="Side of the model input in pixels.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Images a step and device.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Epochs at most.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of weights, order, augmentation.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32 or bf16.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what stands in --output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings and stop.")]
Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust", help="Public key (NAME.pub) whose bundles to open, or folder; repeatable."
    ),
]
AllowUnsigned = Annotated[
    bool,
    typer.Option(
        "--allow-unsigned", help="Open a bundle that no trusted key signed; hashes are checked."
    ),
]


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """Return ``limit`` of the items, evenly drawn, or all if they are fewer."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]
