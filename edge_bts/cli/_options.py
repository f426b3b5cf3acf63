"""Options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle

__all__ = [
    "AllowUnsigned",
    "Batch",
    "Cache",
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
    "check_stream",
    "one_precision",
    "open_trusted",
]

_PRECISIONS = ("fp32", "fp16", "int8")

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
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder of engines; default $EDGE_BTS_CACHE, else the user's."),
]


def open_trusted(path: Path, trust: list[Path] | None, allow_unsigned: bool) -> Bundle:
    """Open a bundle as ``--trust`` and ``--allow-unsigned`` say; a doubt goes to standard error."""
    from edge_bts.bundle import open_bundle_folder
    from edge_bts.signing import find_trust

    bundle = open_bundle_folder(path, find_trust(trust or (), allow_unsigned=allow_unsigned))
    if bundle.maker.doubt:
        print(f"edge-bts: note: {bundle.maker.doubt}", file=sys.stderr, flush=True)
    return bundle


def check_stream(fps: float | None, header: str, spacing: float | None) -> None:
    """Refuse values of ``--fps``, ``--header`` and ``--spacing`` that no live stream can have.

    Raises:
        InputError: One is out of range.
    """
    from edge_bts.errors import InputError

    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"Expected --fps above 0 and at most 1000, but got {fps:g}.")
    if header not in ("auto", "2"):
        raise InputError(f"Expected --header auto or 2, but got {header!r}.")
    if spacing is not None and not 0 < spacing < float("inf"):
        raise InputError(f"Expected --spacing above 0, but got {spacing:g}.")


def one_precision(precision: str | None, flags: dict[str, bool]) -> str | None:
    """Return the one precision that was asked for, or None.

    Args:
        precision: Of ``--precision``.
        flags: Whether ``--int8`` and its like were given, by precision.

    Raises:
        InputError: An unknown one, or two different ones.
    """
    from edge_bts.errors import InputError

    if precision is not None and precision not in _PRECISIONS:
        raise InputError(f"Expected --precision {', '.join(_PRECISIONS)}, but got {precision!r}.")
    given = {value: f"--{value}" for value, is_set in flags.items() if is_set}
    if precision is not None and precision not in given:
        given[precision] = f"--precision {precision}"
    if len(given) > 1:
        raise InputError(
            f"Expected one precision, but got {' and '.join(given.values())}; "
            "run the command once for each."
        )
    return next(iter(given), None)
