"""``edge-bts compare``: what changed between two bundles, or two benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.benchmarks.compare import BenchComparison
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
    before: Annotated[Path, typer.Argument(help="Bundle NAME.ebts, or JSON of `edge-bts bench`.")],
    after: Annotated[Path, typer.Argument(help="The other one, of the same kind.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (JSON).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Benchmarks: page to write.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Benchmarks: end with 5 if the second is worse.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(help="Benchmarks: TOML with a section regress, what may grow by how much."),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="regress.key=value over that file.")
    ] = None,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report instead of tables.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
) -> None:
    """Show what changed between two bundles, or between two benchmarks.

    Bundles: weights, data, thresholds, figures, gates; nothing is run, and only what differs is
    shown. Benchmarks: each row's time, memory and misses, with intervals; another protocol is
    refused.
    """
    from edge_bts.benchmarks.result import result_kind
    from edge_bts.compare import Comparison
    from edge_bts.errors import InputError, LatencyGateError
    from edge_bts.files import refuse_existing, write_json

    for path in filter(None, (output, html)):
        refuse_existing(path, force)
    of_results = [result_kind(path) is not None for path in (before, after) if path.is_file()]
    found: BenchComparison | Comparison
    if len(of_results) == 2 and all(of_results):
        found = _compare_results(before, after, config, override, gate, html)
    elif gate or html is not None or config is not None or override:
        raise InputError(
            "Expected two results of `edge-bts bench` for --gate, --html, --config and --set."
        )
    else:
        found = _compare_bundles(before, after, trust, allow_unsigned)
    content = found.model_dump(mode="json")
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True))
    elif not isinstance(found, Comparison):
        _print_results(found)
    else:
        _print(found, output)
    if output is not None:
        write_json(output, content)
    if gate and not isinstance(found, Comparison) and found.regressions:
        raise LatencyGateError(
            f"Expected nothing to be worse, but got {'; '.join(found.regressions)}."
        )


def _compare_bundles(
    before: Path, after: Path, trust: list[Path] | None, allow_unsigned: bool
) -> Comparison:
    from edge_bts.bundle import open_bundle_folder
    from edge_bts.compare import compare_bundles
    from edge_bts.signing import find_trust

    believed = find_trust(trust or (), allow_unsigned=allow_unsigned)
    return compare_bundles(*(open_bundle_folder(path, believed) for path in (before, after)))


def _compare_results(
    before: Path,
    after: Path,
    config: str | None,
    override: list[str] | None,
    gate: bool,
    html: Path | None,
) -> BenchComparison:
    from edge_bts.benchmarks.compare import compare_results, render_comparison
    from edge_bts.benchmarks.result import load_result
    from edge_bts.benchmarks.settings import RegressSettings
    from edge_bts.config import load_recipe, settings
    from edge_bts.files import write_text

    shares = settings(RegressSettings, load_recipe(config, override or ()), "regress")
    found = compare_results(load_result(before), load_result(after), shares=shares, gate=gate)
    if html is not None:
        write_text(html, render_comparison(found))
    return found


def _print_results(found: BenchComparison) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 140
    console.print(f"before  {found.before}\nafter   {found.after}", soft_wrap=True)
    for text in found.unlike:
        console.print(f"not the same: {text}")
    table = Table()
    table.add_column("row", no_wrap=True)
    for head in ("engine ms", "after", "after / before", "frame ms", "after", "after / before"):
        table.add_column(head, justify="right")
    for row in found.rows:
        table.add_row(
            row.label,
            *(f"{value:.2f}" for value in row.engine_ms),
            f"{row.engine.value:.3f} [{row.engine.low:.3f}, {row.engine.high:.3f}]",
            *(f"{value:.2f}" for value in row.frame_ms),
            f"{row.frame.value:.3f} [{row.frame.low:.3f}, {row.frame.high:.3f}]",
        )
    console.print(table)
    console.print("After / before: of the medians; 95 % bootstrap intervals over the rounds.")
    for label in found.only_before:
        console.print(f"only before: {label}")
    for label in found.only_after:
        console.print(f"only after: {label}")
    for text in found.regressions:
        console.print(f"worse: {text}")


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
