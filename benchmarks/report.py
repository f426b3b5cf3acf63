"""The table of a benchmark, on a terminal and in Markdown, and its figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bts.benchmarks.result import BenchResult, Deadline, Ratio, Row, TrainingResult
from edge_bts.extras import need_extra
from edge_bts.files import atomic_path

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "cells",
    "conditions",
    "markdown",
    "names",
    "notes",
    "plot_result",
    "print_result",
    "print_training",
]

_COLOURS = {"teacher": "#8a8f98", "student": "#1f77b4", "peer": "#6a994e"}
_DEPLOYED = "#d1495b"
_COLUMNS = 11
"""Of a table on a terminal, beside the name of the row."""


def print_result(result: BenchResult, console: Console) -> None:
    """Print a result: one line a row, then what was skipped, what it ran on, and the verdict."""
    from rich.table import Table

    console.print(
        f"{names(result)} on {result.machine.cpu}, {conditions(result)}",
        markup=False,
        highlight=False,
    )
    heads, rows = cells(result)
    for first in range(1, len(heads), _COLUMNS):  # as many at once as a terminal has room for
        table = Table()
        chosen = [0, *range(first, min(first + _COLUMNS, len(heads)))]
        for column in chosen:
            table.add_column(
                heads[column], justify="right" if column else "left", no_wrap=not column
            )
        for row, texts in zip(result.rows, rows, strict=True):
            style = "bold" if row.label == result.reference else ""
            table.add_row(*(texts[column] for column in chosen), style=style)
        console.print(table)
    console.print(
        "engine: the network alone; frame: uint8 frame in, mask and measures out "
        f"({result.frames}).\nx slower: than {result.reference}, median over "
        f"{max(len(r.rounds_engine_p50_ms) for r in result.rows)} interleaved rounds."
        + ("\n% of floor: of the machine's measured peak." if result.peaks.gmacs else ""),
        highlight=False,
    )
    if any(not row.trained for row in result.rows):
        console.print("*: untrained weights, on which the speed does not depend.")
    for text in notes(result):
        console.print(text, markup=False, highlight=False)
    _skipped(result, console)
    _verdict(result, console)


def markdown(result: BenchResult) -> str:
    """Return the table, its conditions and its verdict in Markdown."""
    heads, rows = cells(result)
    lines = [f"| {' | '.join(heads)} |".replace("\n", " ")]
    lines.append("|---" + "|--:" * (len(heads) - 1) + "|")
    for row, texts in zip(result.rows, rows, strict=True):
        deployed = row.label == result.reference
        marked = [f"**{texts[0]}**" if deployed else texts[0], *texts[1:]]
        lines.append(f"| {' | '.join(text.replace('|', '/') for text in marked)} |")
    versions = ", ".join(f"{name} {version}" for name, version in result.machine.versions.items())
    facts = [
        f"{result.verdict}, {result.date[:10]}, {result.machine.cpu}, {conditions(result)}; "
        f"{result.frames}; {versions}.",
        *(f"{reason}." for reason in result.reasons),
        *(f"{text}." for text in notes(result)),
    ]
    if any(not row.trained for row in result.rows):
        facts.append("\\*: untrained weights, on which the speed does not depend.")
    if result.command:
        facts.append(f"`{' '.join(result.command)}`")
    return "\n".join([*lines, "", *(f"{fact}  " for fact in facts)]).rstrip() + "\n"


def names(result: BenchResult) -> str:
    """Return what was measured, in one phrase."""
    return ", ".join(subject.name for subject in result.subjects)


def conditions(result: BenchResult) -> str:
    """Return the rhythm and the threads, in one phrase."""
    settings = result.settings
    parts = [_threads(result), "batch 1"]
    parts.append(f"{settings.fps:g} frames/s" if settings.fps else "back to back")
    if settings.limit_ms is not None:
        parts.append(f"deadline {settings.limit_ms:.1f} ms")
    if settings.idle_ms:
        parts.append(f"a gap of {settings.idle_ms / 1e3:g} s every {settings.burst} frames")
    return ", ".join(parts)


def cells(result: BenchResult) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of the table; columns that nothing fills are left out."""
    columns: dict[str, list[str]] = {
        "row": [_name(row) for row in result.rows],
        "params\nM": [_cost(result, row, "parameters", 1e6) for row in result.rows],
        "GMACs": [_cost(result, row, "macs", 1e9) for row in result.rows],
        "file\nMB": [f"{row.file_bytes / 1e6:.1f}" for row in result.rows],
        "peak RSS\nMB": [f"{row.peak_rss_bytes / 1e6:.0f}" for row in result.rows],
        "engine ms\np50": [_ms(row.engine.p50) for row in result.rows],
        "engine\np99": [_ms(row.engine.p99) for row in result.rows],
        "frame ms\np50": [_ms(row.frame.p50) for row in result.rows],
        "frame\np90": [_ms(row.frame.p90) for row in result.rows],
        "frame\np99": [_ms(row.frame.p99) for row in result.rows],
        "frame\nmax": [_ms(row.frame.max) for row in result.rows],
        "FPS": [f"{row.fps:.1f}" for row in result.rows],
        "engine\nx slower": [
            "1" if row.label == result.reference else _plain(row.engine_ratio)
            for row in result.rows
        ],
        "streams\nFPS": [f"{r.throughput.fps:.1f}" if r.throughput else "-" for r in result.rows],
        "misses\n(burst)": [_misses(row.deadline) for row in result.rows],
        "after gap\np50": [_ms(r.after_idle.p50) if r.after_idle else "-" for r in result.rows],
        "beside load\nx slower": [
            _plain(r.loaded.ratio if r.loaded else None) for r in result.rows
        ],
        "beside load\nmisses": [
            _misses(r.loaded.deadline if r.loaded else None) for r in result.rows
        ],
        "mJ\na frame": [f"{1e3 * r.energy.joules:.1f}" if r.energy else "-" for r in result.rows],
        "% of\nfloor": [f"{100 * r.floor.share:.0f}" if r.floor else "-" for r in result.rows],
        "start\ns": [f"{row.cold_start_ms / 1e3:.2f}" for row in result.rows],
        "Dice": [f"{row.dice.value:.3f}" if row.dice else "-" for row in result.rows],
    }
    filled = {head: texts for head, texts in columns.items() if set(texts) != {"-"}}
    return list(filled), [list(row) for row in zip(*filled.values(), strict=True)]


def notes(result: BenchResult) -> list[str]:
    """Return what a reader should know of the conditions, a phrase each; unknown is said."""
    device = result.machine.device
    found = [f"note: {s.name}: {s.doubt}" for s in result.subjects if s.doubt]
    rates = [f"{rate:.0f} GMAC/s {name}" for name, rate in result.peaks.gmacs.items()]
    if result.peaks.gbytes is not None:
        rates.append(f"{result.peaks.gbytes:.1f} GB/s memory")
    found.append(f"peaks: {', '.join(rates) or 'unknown'}")
    clocks = [s.cpu_mhz for s in result.states if s.cpu_mhz is not None]
    heat = [s.temperature_c for s in result.states if s.temperature_c is not None]
    locked = {True: "locked", False: "free", None: "unknown"}[device.clocks_locked]
    found.append(
        f"governor {device.governor or 'unknown'}, clocks {locked}, "
        f"CPU {_span(clocks, 'MHz')}, temperature {_span(heat, 'C')}, "
        f"power mode {device.power_mode or 'unknown'}, energy {device.power or 'unknown'}"
    )
    if result.overhead_us is not None:
        found.append(f"the harness adds {result.overhead_us:.1f} us to a frame")
    return found


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
    need_extra("bench", "matplotlib")
    import matplotlib

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


def _cost(result: BenchResult, row: Row, quantity: str, unit: float) -> str:
    cost = result.networks.get(row.network)
    return "-" if cost is None else f"{getattr(cost, quantity) / unit:.3f}"


def _misses(found: Deadline | None) -> str:
    if found is None:
        return "-"
    return f"{found.misses}/{found.arrived} ({found.longest_burst})"


def _span(values: Sequence[float], unit: str) -> str:
    if not values:
        return "unknown"
    low, high = min(values), max(values)
    return f"{low:.0f} {unit}" if low == high else f"{low:.0f} to {high:.0f} {unit}"


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
