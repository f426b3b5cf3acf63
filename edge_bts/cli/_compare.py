"""``edge-bts compare``: what changed between two bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.compare import Comparison

_HEADS = {
    "model": "Model",
    "data": "Made from",
    "settings": "Settings",
    "figures": "Figures",
    "gates": "Gates",
    "files": "Files",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    before: Annotated[Path, typer.Argument(help="Bundle NAME.ebts.")],
    after: Annotated[Path, typer.Argument(help="The other one.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (JSON).")
    ] = None,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report instead of tables.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
) -> None:
    """Show what changed between two bundles: weights, data, thresholds, figures, gates.

    Nothing is run, and only what differs is shown.
    """
    from edge_bts.bundle import open_bundle_folder
    from edge_bts.cli._data import refuse_existing
    from edge_bts.compare import compare_bundles
    from edge_bts.files import write_json
    from edge_bts.signing import find_trust

    if output is not None:
        refuse_existing(output, force)
    believed = find_trust(trust or (), allow_unsigned=allow_unsigned)
    comparison = compare_bundles(*(open_bundle_folder(path, believed) for path in (before, after)))
    content = comparison.model_dump(mode="json")
    if output is not None:
        write_json(output, content)
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True))
    else:
        _print(comparison, output)


def _print(comparison: Comparison, output: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    console.print(f"before  {comparison.before}\nafter   {comparison.after}", soft_wrap=True)
    if comparison.same:
        console.print("The same bundle, to the bit.")
        return
    for name, head in _HEADS.items():
        changes = getattr(comparison, name)
        if not changes:
            console.print(f"\n{head}: the same")
            continue
        table = Table(title=head, title_justify="left", width=None)
        table.add_column("what", overflow="fold")
        table.add_column("before", overflow="fold")
        table.add_column("after", overflow="fold")
        for change in changes:
            table.add_row(change.what, _shown(change.before), _shown(change.after))
        console.print("", table)
    if (weights := comparison.weights) is not None:
        moved = weights.tensors - weights.equal
        console.print(
            f"\nWeights of the float reference: {weights.equal} of {weights.tensors} tensors are "
            f"equal, {moved} changed (relative change of all: {weights.relative:.3g}), "
            f"{len(weights.only_before)} only before, {len(weights.only_after)} only after"
        )
        for name, relative in weights.largest.items():
            console.print(f"  {relative:.3g}  {name}")
    for note in comparison.notes:
        console.print(f"note: {note}")
    if output is not None:
        console.print(f"report  {output}", soft_wrap=True)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text
