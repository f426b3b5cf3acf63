"""``edge-bts export``: a checkpoint into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Student, from train or distill.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle to make: NAME.ebts.")],
    int8: Annotated[bool, typer.Option("--int8", help="Same as --precision int8.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Same as --precision fp16.")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Same as --precision fp32.")] = False,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32, fp16 or int8 (default).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set that the student was trained on; needed for int8."),
    ] = None,
    split: opt.SplitFile = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the model; default: that of the output.")
    ] = None,
    teachers: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--teachers", help="Benign and malignant teacher, heard in the fine-tune."),
    ] = None,
    qat_epochs: Annotated[
        int | None, typer.Option("--qat-epochs", help="Epochs of the INT8 fine-tune; 0: none.")
    ] = None,
    ptq: Annotated[
        bool, typer.Option("--ptq", help="Calibrate only: same as --qat-epochs 0.")
    ] = False,
    calibration_images: Annotated[
        int | None,
        typer.Option("--calibration-images", help="Training images that give the ranges."),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option("--sign", help="NAME.key (key new) that signs the bundle.")
    ] = None,
    gate_on: Annotated[
        str | None, typer.Option("--gate-on", help="Part that gates judge: val (default) or test.")
    ] = None,
    latency_gate: Annotated[
        bool, typer.Option("--latency-gate", help="Fail if slower than fp32 on this machine.")
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity", help="No bundle: which layers lose Dice, to --output (JSON)."
        ),
    ] = False,
    config: opt.Config = None,
    set_: opt.Overrides = None,
    seed: opt.Seed = None,
    device: opt.Device = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="Then build its TensorRT engine for this machine.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle at --output.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, print the plan, stop.")
    ] = False,
) -> None:
    """Fold, quantize, fine-tune and convert a student into a bundle NAME.ebts."""
    chosen = opt.one_precision(precision, {"int8": int8, "fp16": fp16, "fp32": fp32})

    from edge_bts.cli._process import keep_freed_memory
    from edge_bts.extras import need_extra

    need_extra("export", "torch", "onnx", "onnxruntime", "nncf")
    need_extra("train", "lightning_fabric", "kornia")
    keep_freed_memory()

    from rich.console import Console

    from edge_bts.config import load_recipe, settings
    from edge_bts.errors import InputError
    from edge_bts.export import pipeline
    from edge_bts.export.settings import ExportSettings

    if ptq:
        if qat_epochs:
            raise InputError(
                f"Expected --ptq or --qat-epochs, but got --ptq and --qat-epochs {qat_epochs}; "
                "leave one of them out."
            )
        qat_epochs = 0
    request = pipeline.Request(
        checkpoint=checkpoint,
        output=output,
        settings=settings(
            ExportSettings,
            load_recipe(config, set_ or ()),
            "export",
            precision=chosen,
            seed=seed,
            qat__seed=seed,
            qat__epochs=qat_epochs,
            qat__device=device,
            quantize__calibration_images=calibration_images,
            gates__on=gate_on,
            latency__gate=latency_gate or None,
        ),
        data=data,
        split=split,
        teachers=teachers,
        name=name,
        force=force,
        sign=sign,
    )
    if dry_run and sensitivity:
        raise InputError("Expected --dry-run without --sensitivity: it has no plan; leave one out.")
    if dry_run:
        print(pipeline.prepare(request))
        print(request.settings.model_dump_json(indent=2))
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120  # a log file takes the whole table
    if sensitivity:
        from edge_bts.export.sensitivity import analyse

        analyse(request, say=console.print)
        return
    bundle = pipeline.export(request, say=console.print)
    if engine:
        _build_engine(bundle)


def _build_engine(bundle: Bundle) -> None:
    from edge_bts.cli._build import build_and_show
    from edge_bts.errors import EdgeBtsError
    from edge_bts.tensorrt.build import BuildRequest

    try:
        build_and_show(BuildRequest(bundle=bundle))
    except EdgeBtsError as error:
        raise type(error)(f"{bundle.path} is written, but has no engine: {error}") from error
