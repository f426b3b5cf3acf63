"""The plots of a benchmark: tails, stages, drift, device, roofline, Dice, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from edge_bts.benchmarks.result import BenchResult, Row
from edge_bts.page.plot import Axis, Plot, linear, log

__all__ = [
    "dice_chart",
    "drift_chart",
    "memory_chart",
    "roofline_chart",
    "stage_chart",
    "state_chart",
    "tail_chart",
    "tail_legend",
]

_ROLES = {"student": "one", "teacher": "two", "peer": "three"}
_LINES = [f"{colour}{dash}" for dash in ("", " d1", " d2") for colour in ("one", "two", "three")]
_TOP_OF_BARS = 34
"""Height of a row of bars with its name, in units of the plot."""
_LEAST_BAR = 16
"""The longest bar of a panel is at most this many times its shortest."""
_WIDTH_OF_NUMBER = 0.06
"""Of the plot's width: points that are closer have their numbers one above the other."""


def tail_chart(rows: Sequence[Row]) -> str:
    """Return the share of frames that take longer than a time, both logarithmic.

    It is the distribution (CDF) turned over, so that the tail, which a deadline meets, is what
    one sees.
    """
    times = {row.label: _answered(row) for row in rows}
    fewest = 1 / max(len(values) for values in times.values())
    down = [10.0**-n for n in range(math.floor(-math.log10(fewest)) + 1)]
    y = Axis(fewest / 1.5, 1.0, [(t, f"{100 * t:g}%") for t in down], logarithmic=True)
    x = log([min(v[0] for v in times.values()), max(v[-1] for v in times.values())])
    plot = Plot(x, y, "ms", "frames slower than this")
    limit = next((row.deadline.deadline_ms for row in rows if row.deadline), None)
    if limit is not None:
        plot.mark(limit, "line dash", f"deadline {limit:.1f}")
    for style, (label, values) in zip(_cycle(len(rows)), times.items(), strict=True):
        n = len(values)
        points = [(value, (n - index) / n) for index, value in enumerate(values)]
        plot.curve(_thin(points), style, f"{label}: median {values[n // 2]:.2f} ms")
    return plot.svg(f"Distribution of {'ages' if limit is not None else 'frame times'}")


def tail_legend(rows: Sequence[Row]) -> str:
    """Return the legend of lines, each as it is drawn."""
    entries = (
        f'<span><svg class="key stroke" viewBox="0 0 24 8" aria-hidden="true">'
        f'<path class="curve {style}" d="M0 4L24 4"/></svg>{escape(_what(row))}</span>'
        for style, row in zip(_cycle(len(rows)), rows, strict=True)
    )
    return f'<p class="legend">{"".join(entries)}</p>'


def drift_chart(rows: Sequence[Row]) -> str:
    """Return the median of each round against the row's own: a machine that keeps still is flat."""
    shares = {r.label: [m / r.frame.p50 for m in r.rounds_frame_p50_ms] for r in rows}
    low = min(0.9, *(min(values) for values in shares.values()))
    high = max(1.1, *(max(values) for values in shares.values()))
    rounds = max(len(values) for values in shares.values())
    x = linear(1, max(2, rounds), sorted({1, max(2, (rounds + 1) // 2), max(2, rounds)}))
    plot = Plot(x, log([low, high], (1, 1.2, 1.5, 2, 5), 10), "round", "of its own median")
    plot.level(1, "axis")
    for style, (label, values) in zip(_cycle(len(rows)), shares.items(), strict=True):
        points = [(number, value) for number, value in enumerate(values, 1)]
        plot.curve(points, style, f"{label}: {min(values):.2f} to {max(values):.2f}")
    return plot.svg("Medians of the rounds")


def state_chart(result: BenchResult, name: str, label: str) -> str:
    """Return a quantity of the device over the run; "" where it is unknown."""
    points = [(s.at_s, v) for s in result.states if (v := getattr(s, name)) is not None]
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return ""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    x = linear(0, points[-1][0], _round_ticks(0, points[-1][0]))
    y = linear(low - room, high + room, _round_ticks(low - room, high + room))
    plot = Plot(x, y, "seconds of the run", label)
    plot.curve(_thin(points), "one", f"{low:g} to {high:g}")
    return plot.svg(f"{label} over the run")


def stage_chart(rows: Sequence[Row]) -> str:
    """Return where a frame's time goes: medians of preprocessing, engine, the way back."""
    parts = [
        (row, [row.stages["preprocess"].p50, row.engine.p50, row.stages["postprocess"].p50])
        for row in rows
    ]
    names = ("to the network", "engine", "back and measures")
    return _bars(parts, names, "ms", lambda value: f"{value:.2f} ms")


def memory_chart(rows: Sequence[Row]) -> str:
    """Return the memory of each process: before the network was loaded, and what it added."""
    parts = [
        (row, [row.idle_rss_bytes / 1e6, (row.peak_rss_bytes - row.idle_rss_bytes) / 1e6])
        for row in rows
    ]
    names = ("interpreter and libraries", "network")
    return _bars(parts, names, "MB", lambda value: f"{value:.0f} MB")


def roofline_chart(result: BenchResult) -> str:
    """Return each row's rate under what the machine can do; "" where that is unknown."""
    peaks = result.peaks
    points = []
    for row in result.rows:
        cost = result.networks.get(row.network)
        if cost is not None and row.precision in peaks.gmacs:
            rate = cost.macs / row.engine.p50 / 1e6
            points.append((cost.macs / row.file_bytes, rate, row))
    if not points or peaks.gbytes is None:
        return ""
    knees = [rate / peaks.gbytes for rate in peaks.gmacs.values()]
    x = log([*(at for at, _, _ in points), min(knees) / 3, 2 * max(knees)], (1, 3))
    y = log([*(rate for _, rate, _ in points), *peaks.gmacs.values()], (1,))
    plot = Plot(x, y, "MACs a byte of weights", "10⁹ MACs a second")
    for name, rate in peaks.gmacs.items():
        knee = max(rate / peaks.gbytes, x.low)
        start = max(x.low, y.low / peaks.gbytes)
        line = [(start, min(rate, start * peaks.gbytes)), (knee, rate), (x.high, rate)]
        plot.curve(line, "one" if name == "int8" else "two", f"{name}: {rate:.0f} GMAC/s")
        plot.note(x.low, rate / 1.5, f"{name} {rate:.0f}")
    for at, rate, row in points:
        style = "one" if row.precision == "int8" else "two diamond"
        share = f", {100 * row.floor.share:.0f} % of its floor" if row.floor else ""
        plot.point(at, rate, style, f"{row.label}: {rate:.1f} GMAC/s{share}")
    return plot.svg("Roofline: rates reached and rates possible")


def dice_chart(result: BenchResult) -> str:
    """Return Dice against engine time, with intervals and the Pareto line; "" without Dice.

    A point has a number, which the list below it explains: names would lie on each other.
    """
    known = [(row.engine.p50, row.dice, row) for row in result.rows if row.dice is not None]
    if not known:
        return ""
    known.sort(key=lambda entry: (entry[0], -entry[1].value))
    x = log([*(at for at, _, _ in known), 2 * max(at for at, _, _ in known)])
    ends = [e for _, d, _ in known for e in (d.value, d.low, d.high) if e is not None]
    low, high = max(0.0, min(ends) - 0.03), min(1.0, max(ends) + 0.03)
    y = linear(low, high, _round_ticks(low, high), "{:.2f}")
    plot = Plot(x, y, "engine, ms (median)", "Dice")
    best, line = -1.0, []
    for at, dice, _ in known:
        if dice.value > best:
            best = dice.value
            line.append((at, dice.value))
    plot.curve(line, "three d1", "Pareto line")
    for at, dice, row in known:
        if dice.low is not None and dice.high is not None:
            plot.curve([(at, dice.low), (at, dice.high)], _ROLES[row.role], "95 % interval")
        style = f"{_ROLES[row.role]}{' diamond' if row.role == 'teacher' else ''}"
        plot.point(at, dice.value, style, f"{row.label}: Dice {dice.value:.3f}, {at:.2f} ms")
    entries, before, tier = [], -1.0, 0
    for number, (at, dice, row) in enumerate(known, 1):
        tier = tier + 1 if x(at) - before < _WIDTH_OF_NUMBER else 0
        before = x(at)
        plot.note(at, dice.value if dice.high is None else dice.high, str(number), lift=12 * tier)
        within = "" if dice.low is None else f", {dice.low:.3f} to {dice.high:.3f}"
        entries.append(f"<li>{escape(row.label)}: {at:.2f} ms, Dice {dice.value:.3f}{within}</li>")
    return f'{plot.svg("Dice against engine time")}<ol class="points">{"".join(entries)}</ol>'


def _bars(
    parts: Sequence[tuple[Row, list[float]]],
    names: Sequence[str],
    unit: str,
    text: Callable[[float], str],
) -> str:
    """Return stacked bars, a row each, its name and sum above it, and their legend.

    Rows that would be slivers beside the longest have a panel with a scale of its own.
    """
    styles = ("three", "one", "two")
    plots = []
    for panel in _panels(parts):
        longest = max(sum(values) for _, values in panel)
        count = len(panel)
        x = linear(0, longest * 1.02, _round_ticks(0, longest))
        y = Axis(0, count, [], logarithmic=False)
        plot = Plot(x, y, unit, "", height=54 + _TOP_OF_BARS * count)
        for index, (row, values) in enumerate(panel):
            top, at = count - index - 0.5, 0.0
            for name, value, style in zip(names, values, styles, strict=False):
                if value > longest / 1e3:
                    tip = f"{row.label}, {name}: {text(value)}"
                    plot.bar(at, at + value, top - 0.4, top, style, tip)
                at += value
            plot.note(0, top + 0.12, f"{row.label}: {text(sum(values))}")
        plots.append(plot.svg(f"Bars in {unit}, to {text(longest)}"))
    entries = (
        f'<span><i class="key {style}"></i>{name}</span>'
        for name, style in zip(names, styles, strict=False)
    )
    scales = "<p>Each panel has a scale of its own.</p>" if len(plots) > 1 else ""
    return f'{"".join(plots)}<p class="legend">{"".join(entries)}</p>{scales}'


def _panels(parts: Sequence[tuple[Row, list[float]]]) -> list[list[tuple[Row, list[float]]]]:
    """Share rows out by their sums, so that none is shorter than a sixteenth of its panel's."""
    panels: list[float] = []
    for total in sorted((sum(values) for _, values in parts), reverse=True):
        if not panels or total < panels[-1] / _LEAST_BAR:
            panels.append(total)
    limits = [*panels[1:], -1.0]
    return [
        [part for part in parts if below < sum(part[1]) <= top]
        for top, below in zip(panels, limits, strict=True)
    ]


def _answered(row: Row) -> list[float]:
    """Return what a viewer waits for, in order: ages where frames arrive, else frame times."""
    return sorted(value / 1e3 for value in row.times_us.get("age", row.times_us["frame"]))


def _what(row: Row) -> str:
    return row.label.removeprefix(f"{row.who}, ")


def _cycle(count: int) -> list[str]:
    return [_LINES[index % len(_LINES)] for index in range(count)]


def _thin(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """Return at most ``most`` of the points, all of the last hundred among them."""
    if len(points) <= most:
        return list(points)
    head, tail = points[:-100], points[-100:]
    chosen = np.unique(np.linspace(0, len(head) - 1, most - 100).round().astype(int))
    return [head[index] for index in chosen] + list(tail)


def _round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round ticks inside a range, near ``about`` of them."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]
