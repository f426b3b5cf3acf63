"""``edge-bts verify``: every form of a bundle's network, compared on this machine."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.data import Sample
    from edge_bts.export.verify import VerifyReport


class Part(str, Enum):
    """Which images to compare on."""

    train = "train"
    val = "val"
    test = "test"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle NAME.ebts.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Data set to compare on; default: the golden frames of the bundle."
        ),
    ] = None,
    split: opt.SplitFile = None,
    part: Annotated[Part, typer.Option(help="Part of the split.")] = Part.val,
    limit: Annotated[
        int, typer.Option(min=1, help="Compare on this many images, evenly drawn.")
    ] = 100,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="What the bundle was made from: torch float is compared too."),
    ] = None,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Least mean Dice of the masks of two forms.")
    ] = 0.98,
    tolerance: Annotated[
        float, typer.Option(help="Relative error from which a tensor counts as different.")
    ] = 0.1,
    locate: Annotated[
        bool, typer.Option(help="Look for the first tensor that differs (needs onnx).")
    ] = True,
    threads: Annotated[int | None, typer.Option(help="Threads inside one inference.")] = None,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (JSON).")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture to write (PNG): each form's worst image and a heat map."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report instead of tables.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Check that this machine computes what the bundle promises, form by form.

    Every ONNX and OpenVINO file of the bundle runs in every executor that is installed. Exit
    code 4 if one disagrees; the tables then say which, by how much, and from which tensor on.
    """
    import json

    from edge_bts.errors import AccuracyGateError, InputError
    from edge_bts.export.verify import verify as run
    from edge_bts.files import refuse_existing, write_json

    for path in filter(None, (output, plot)):
        refuse_existing(path, force)
    if tolerance <= 0:
        raise InputError(f"Expected --tolerance above 0, but got {tolerance}.")
    opened = opt.open_trusted(bundle, trust, allow_unsigned)
    images = described = None
    if data is not None:
        samples, described = _samples(data, split, part, limit)
        images = (sample.read() for sample in samples)
    report, worst = run(
        opened,
        images=images,
        data=described or "",
        checkpoint=checkpoint,
        threads=threads,
        least=agreement,
        tolerance=tolerance,
        locate=locate,
    )
    content = report.model_dump(mode="json")
    if output is not None:
        write_json(output, content)
    if plot is not None:
        from edge_bts.data.contact_sheet import write_png
        from edge_bts.export.heatmap import draw_differences

        write_png(plot, draw_differences(worst, opened.manifest))
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True))
    else:
        _print(report, {"report": output, "picture": plot})
    if report.failures:
        raise AccuracyGateError(
            "Expected every form to compute what the bundle promises, but "
            + "; ".join(report.failures)
            + ". Check the versions with `edge-bts doctor`, or use another --backend."
        )


def _samples(data: Path, split: Path | None, part: Part, limit: int) -> tuple[list[Sample], str]:
    from edge_bts.data import evenly, load_split, make_split, open_dataset, select

    dataset = open_dataset(data)
    chosen = make_split(dataset, seed=0) if split is None else load_split(split)
    samples = evenly(select(dataset, chosen, part.value), limit)
    what = f"{part.value}, split {chosen.hash[:12]}"
    return samples, f"{len(samples)} images of {dataset.name}, {what}"


def _print(report: VerifyReport, written: dict[str, Path | None]) -> None:
    from rich.console import Console
    from rich.table import Table

    from edge_bts.export.card import parity_table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    console.print(f"{report.bundle}, manifest {report.manifest_sha256[:12]}, on {report.data}")
    console.print(parity_table(report.parity))
    if report.divergences:
        table = Table(
            title=f"First tensor that differs by more than {report.divergences[0].tolerance:g}",
            caption="relative error of the outputs of convolutions, on each form's worst image",
        )
        for head in ("model", "compared with", "tensor", "error", "place"):
            table.add_column(head, overflow="fold")
        for found in report.divergences:
            table.add_row(
                found.name,
                found.against,
                found.tensor or "none",
                f"{found.error:.2g}",
                f"{found.position} of {found.convolutions}",
            )
        console.print(table)
    for skipped in report.skipped:
        print(f"edge-bts: note: {skipped.name} was not run: {skipped.reason}", file=sys.stderr)
    for what, path in written.items():
        if path is not None:
            console.print(f"{what:<7}  {path}", soft_wrap=True)
    if not report.failures:
        limit = (
            "as closely as the golden frames promise"
            if report.least is None
            else f"mean Dice of masks at least {report.least:g}"
        )
        console.print(f"All forms agree: {limit}.")
