"""The table and the figure of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.benchmarks.result import BenchResult, Ratio, Row, TrainingResult
from edge_bts.errors import EnvironmentMismatchError
from edge_bts.files import atomic_path

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["plot_result", "print_result", "print_training"]

_COLOURS = {"teacher": "#8a8f98", "student": "#1f77b4"}
_DEPLOYED = "#d1495b"


def print_result(result: BenchResult, console: Console) -> None:
    """Print a result: one line a row, then what was skipped, what it ran on, and the verdict."""
    from rich.table import Table

    table = Table(
        title=f"{result.bundle} on {result.machine.cpu}, {_threads(result)}", title_style=""
    )
    table.add_column("row", no_wrap=True)
    for name in (
        *("params\nM", "GMACs", "file\nMB", "peak RSS\nMB"),
        *("engine ms\np50", "\np90", "\np99", "frame ms\np50", "\np99", "FPS"),
        *("engine\nx slower", "frame\nx slower"),
    ):
        table.add_column(name, justify="right")
    for row in result.rows:
        style = "bold" if row.label == result.reference else ""
        table.add_row(*_cells(row, result.reference), style=style)
    console.print(table)
    console.print(
        "engine: the network alone; frame: uint8 frame in, mask and measures out "
        f"({result.frames}).\nx slower: than {result.reference}, median over "
        f"{max(len(r.rounds_engine_p50_ms) for r in result.rows)} interleaved rounds.",
        highlight=False,
    )
    if any(not row.trained for row in result.rows):
        console.print("*: untrained weights, on which the speed does not depend.")
    if result.bundle_doubt:
        console.print(f"note: {result.bundle_doubt}.", markup=False, highlight=False)
    _skipped(result, console)
    _verdict(result, console)


def print_training(result: TrainingResult, console: Console) -> None:
    """Print a benchmark of trainings: one column a way to run it, where a step's time goes."""
    from rich.markup import escape
    from rich.table import Table

    first = result.rows[0]
    where = result.machine.cpu if result.device == "cpu" else result.device
    console.print(
        f"[{result.section}] {first.network} at {first.imgsz} px, batch {first.batch}, "
        f"{result.data}, on {where}, {_threads(result)}",
        markup=False,
        highlight=False,
    )
    table = Table()
    table.add_column("")
    for row in result.rows:
        table.add_column(escape(row.label.replace(", ", "\n")), justify="right")
    table.add_row("images/s", *(f"{row.images_per_second:.1f}" for row in result.rows))
    table.add_row(
        "step p50 (p90), ms", *(_two(row.step.p50, row.step.p90, _ms) for row in result.rows)
    )
    table.add_row("x slower", *(f"{row.ratio.median:.2f}" for row in result.rows), end_section=True)
    for parts in zip(*(row.parts for row in result.rows), strict=True):
        if any(part.share for part in parts):
            mark = "" if parts[0].model else " *"
            table.add_row(f"{parts[0].name}{mark}", *(f"{part.share:.1%}" for part in parts))
    table.add_section()
    table.add_row(
        "* not model compute", *(f"{row.not_model:.1%}" for row in result.rows), style="bold"
    )
    table.add_row(
        "  its p50 (p90)",
        *(_two(row.not_model_p50, row.not_model_p90, _percent) for row in result.rows),
    )
    console.print(table)
    console.print(
        "Shares of a step, validation left out; at most 15 % outside the model is the aim.\n"
        f"x slower: than the first, median over {first.ratio.rounds} interleaved rounds.",
        highlight=False,
    )
    _skipped(result, console)
    _verdict(result, console)


def plot_result(result: BenchResult, path: Path) -> None:
    """Draw latency on a logarithmic axis, with the ratio beside each bar.

    Args:
        result: What to draw.
        path: A ``.png``, ``.svg`` or ``.pdf`` to write, atomically.

    Raises:
        EnvironmentMismatchError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise EnvironmentMismatchError(
            "Expected the package matplotlib for a plot, but it is not installed; "
            "`pip install 'edge-bts[bench]'`."
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(result.rows, key=lambda row: -row.engine.p50)
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.42 * len(rows)), layout="constrained")
    for position, row in enumerate(rows):
        colour = _DEPLOYED if row.label == result.reference else _COLOURS[row.role]
        axes.barh(position, row.engine.p50, color=colour, height=0.62)
        tail = row.engine.p99 or row.engine.p90 or row.engine.max
        axes.plot([row.engine.p50, tail], [position, position], color="#333333", linewidth=1)
        text = f" {row.engine.p50:,.1f} ms"
        if row.engine_ratio is not None and row.label != result.reference:
            text += f"   {row.engine_ratio.median:.3g}x"
        axes.text(tail, position, text, va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(min(row.engine.p50 for row in rows) / 2, max(r.engine.max for r in rows) * 6)
    axes.set_xlabel("engine latency, ms (median; line to p99 or the highest percentile measured)")
    axes.set_title(
        f"{result.machine.cpu}, {_threads(result)}, batch 1: times slower than "
        f"{result.reference}\n{result.verdict}, {result.date[:10]}",
        fontsize=10,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def _cells(row: Row, reference: str | None) -> list[str]:
    cost = row.complexity
    return [
        _name(row),
        f"{cost.parameters / 1e6:.3f}" if cost else "-",
        f"{cost.macs / 1e9:.3f}" if cost else "-",
        f"{row.file_bytes / 1e6:.1f}",
        f"{row.peak_rss_bytes / 1e6:.0f}",
        *(_ms(value) for value in (row.engine.p50, row.engine.p90, row.engine.p99)),
        *(_ms(value) for value in (row.frame.p50, row.frame.p99)),
        f"{row.fps:.1f}",
        "1" if row.label == reference else _plain(row.engine_ratio),
        "1" if row.label == reference else _plain(row.frame_ratio),
    ]


def _skipped(result: BenchResult | TrainingResult, console: Console) -> None:
    for skipped in result.skipped:
        console.print(f"skipped {skipped.label}: {skipped.reason}", highlight=False, style="dim")


def _verdict(result: BenchResult | TrainingResult, console: Console) -> None:
    machine = result.machine
    console.print(
        f"load average {machine.load_average_before[0]:g} before, "
        f"{machine.load_average_after[0]:g} after; other processes used "
        f"{machine.foreign_load:.0%} of {machine.logical_cores} cores meanwhile.",
        highlight=False,
    )
    console.print(f"{result.verdict}", style="bold", highlight=False)
    for reason in result.reasons if result.verdict == "INVALID" else ():
        console.print(f"  {reason}", highlight=False)
    if result.verdict == "QUICK":
        console.print("  a look, not a measurement; leave out --quick for figures to publish.")


def _name(row: Row) -> str:
    return row.label if row.trained else f"{row.label}*"


def _threads(result: BenchResult | TrainingResult) -> str:
    threads = result.settings.threads
    return f"{threads} thread" + ("s" if threads > 1 else "")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _two(p50: float, p90: float | None, write: Callable[[float | None], str]) -> str:
    return f"{write(p50)} ({write(p90)})"


def _plain(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.1f}"
