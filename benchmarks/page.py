"""A benchmark as one HTML file to look at: no script, no network, light and dark."""

from __future__ import annotations

from html import escape

from edge_bts.benchmarks.charts import (
    dice_chart,
    drift_chart,
    memory_chart,
    roofline_chart,
    stage_chart,
    state_chart,
    tail_chart,
    tail_legend,
)
from edge_bts.benchmarks.complexity import Complexity
from edge_bts.benchmarks.report import cells, conditions, names, notes
from edge_bts.benchmarks.result import BenchResult, Row
from edge_bts.page.html import document, table

__all__ = ["render_page"]


def render_page(result: BenchResult) -> str:
    """Return the page of a result: HTML in one piece; equal results give equal bytes."""
    name = escape(names(result))
    body = [
        f"<h1>{name}</h1>",
        f'<p class="soft">{_conditions(result)}</p>',
        _verdict(result),
        _tiles(result),
        _table(result),
        _tails(result),
        _charts(result),
        _loads(result),
        _layers(result),
        _facts(result),
        _definitions(),
    ]
    return document(f"{name}: benchmark", [part for part in body if part])


def _conditions(result: BenchResult) -> str:
    return escape(f"{result.machine.cpu}; {conditions(result)}; {result.frames}; {result.date}")


def _verdict(result: BenchResult) -> str:
    if result.verdict == "VALID":
        return '<p class="soft"><b>VALID</b>: nothing is against these figures.</p>'
    if result.verdict == "QUICK":
        return '<p class="warn"><b>QUICK</b>: a look, not a measurement.</p>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in result.reasons)
    return f'<div class="warn"><b>INVALID</b><ul>{reasons}</ul></div>'


def _tiles(result: BenchResult) -> str:
    row = next(row for row in result.rows if row.label == result.reference)
    tiles = [
        ("engine, median", f"{row.engine.p50:.3g} ms", row.label),
        ("frame to mask, median", f"{row.frame.p50:.3g} ms", f"{row.fps:.1f} frames/s"),
    ]
    if (bound := row.frame.at_most.get("p99")) is not None and row.frame.p99 is not None:
        below = f"at most {bound:.2f} at 99 % confidence"
        tiles.append(("frame to mask, p99", f"{row.frame.p99:.3g} ms", below))
    if (met := row.deadline) is not None:
        below = f"of {met.arrived}; longest burst {met.longest_burst}"
        tiles.append((f"misses of {met.deadline_ms:.1f} ms", str(met.misses), below))
    tiles.append(("peak memory", f"{row.peak_rss_bytes / 1e6:.0f} MB", "of the process"))
    if row.floor is not None:
        tiles.append(("of its floor", f"{100 * row.floor.share:.0f} %", "machine's peak = 100 %"))
    if row.energy is not None:
        tiles.append(("energy", f"{1e3 * row.energy.joules:.1f} mJ", "a frame"))
    if row.dice is not None:
        low, high = row.dice.low, row.dice.high
        below = f"{low:.3f}–{high:.3f}" if low is not None and high is not None else ""
        tiles.append((f"Dice, {row.dice.dataset}", f"{row.dice.value:.3f}", below))
    inside = (
        f'<div class="tile"><span>{escape(head)}</span><b>{value}</b>'
        f"<span>{escape(below)}</span></div>"
        for head, value, below in tiles
    )
    return f'<div class="tiles">{"".join(inside)}</div>'


def _table(result: BenchResult) -> str:
    heads, rows = cells(result)
    skipped = "".join(
        f'<p class="soft">Not measured: {escape(s.label)}: {escape(s.reason)}.</p>'
        for s in result.skipped
    )
    star = (
        '<p class="soft">*: untrained weights, on which the speed does not depend.</p>'
        if any(not row.trained for row in result.rows)
        else ""
    )
    lines = [[escape(text) for text in row] for row in rows]
    return f"<h2>All rows</h2>{table([escape(head) for head in heads], lines)}{star}{skipped}"


def _tails(result: BenchResult) -> str:
    """Draw the tails, a plot for each network."""
    groups: dict[str, list[Row]] = {}
    for row in result.rows:
        groups.setdefault(row.who, []).append(row)
    what = "From arrival to mask" if result.settings.limit_ms is not None else "Frame to mask"
    drawn = (
        f'<div class="chart"><h3>{escape(who)}</h3>{tail_chart(rows)}{tail_legend(rows)}</div>'
        for who, rows in groups.items()
    )
    return (
        f'<h2>{what}: the whole distribution</h2><p class="soft">{_conditions(result)}</p>'
        f'<div class="charts few">{"".join(drawn)}</div>'
    )


def _charts(result: BenchResult) -> str:
    rows = result.rows
    charts = {
        "Where a frame's time goes": stage_chart(rows),
        "Memory of the process": memory_chart(rows),
        "Roofline": roofline_chart(result),
        "Dice and speed": dice_chart(result),
        "Over the rounds": drift_chart(rows) + _legend_of_all(result),
        "CPU clock": state_chart(result, "cpu_mhz", "MHz"),
        "GPU clock": state_chart(result, "gpu_mhz", "MHz"),
        "Temperature": state_chart(result, "temperature_c", "degrees C"),
        "Power": state_chart(result, "power_w", "W"),
    }
    below = {
        "Roofline": "Discs: INT8, diamonds: others; the lines are what this machine reached on "
        "layers that suit it best, and the memory's rate.",
        "Dice and speed": "Green dashes: no other row is both quicker and better.",
    }
    drawn = (
        f'<div class="chart"><h3>{name}</h3>{svg}<p>{below.get(name, "")}</p></div>'
        for name, svg in charts.items()
        if svg
    )
    unknown = [
        name for name in ("CPU clock", "Temperature", "Power", "Roofline") if not charts[name]
    ]
    said = f'<p class="soft">Unknown on this device: {", ".join(unknown)}.</p>' if unknown else ""
    return f'<h2>Why</h2><div class="charts">{"".join(drawn)}</div>{said}'


def _legend_of_all(result: BenchResult) -> str:
    """Return the legend of all rows by their whole names."""
    return tail_legend([row.model_copy(update={"who": ""}) for row in result.rows])


def _loads(result: BenchResult) -> str:
    rows = [row for row in result.rows if row.loaded is not None]
    if not rows:
        return ""
    heads = ("row", "frame p50 ms", "p99", "beside load p50", "p99", "x slower", "misses")
    lines = []
    for row in rows:
        found = row.loaded
        assert found is not None  # chosen above
        late = (
            "-" if found.deadline is None else f"{found.deadline.misses}/{found.deadline.arrived}"
        )
        lines.append(
            [
                escape(row.label),
                *(_ms(value) for value in (row.frame.p50, row.frame.p99)),
                *(_ms(value) for value in (found.frame.p50, found.frame.p99)),
                f"{found.ratio.median:.2f}",
                late,
            ]
        )
    count = result.settings.co_load
    name = "a process that computes" if count == 1 else f"{count} processes that compute"
    return f"<h2>Beside {name}</h2>{table(heads, lines)}"


def _layers(result: BenchResult) -> str:
    parts = [_cost(name, cost) for name, cost in result.networks.items() if cost.layers]
    parts += [_times(row, result) for row in result.rows if row.layers]
    return f"<h2>Layer by layer</h2>{''.join(parts)}" if parts else ""


def _cost(name: str, cost: Complexity) -> str:
    rows = [
        [
            escape(layer.name),
            layer.kind,
            " x ".join(map(str, layer.output)),
            f"{layer.parameters:,}",
            f"{layer.macs / 1e6:,.2f}",
            f"{layer.flops / 1e6:,.2f}",
            f"{100 * layer.macs / cost.macs:.1f}",
        ]
        for layer in cost.layers
    ]
    held = cost.activation_bytes
    memory = f", activations at most {held / 1e6:.1f} MB in float32" if held is not None else ""
    heads = ("layer", "kind", "output", "weights", "10⁶ MACs", "10⁶ FLOPs", "% of MACs")
    return (
        f"<details><summary>{escape(name)}: {cost.parameters:,} parameters, "
        f"{cost.macs / 1e9:.3f}·10⁹ MACs, {cost.flops / 1e9:.3f}·10⁹ FLOPs{memory}</summary>"
        f"{table(heads, rows)}</details>"
    )


def _times(row: Row, result: BenchResult) -> str:
    rate = result.peaks.gmacs.get(row.precision)
    kinds: dict[str, float] = {}
    for layer in row.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + layer.share
    largest = sorted(kinds.items(), key=lambda entry: -entry[1])[:4]
    rows = []
    for layer in row.layers:
        floor = layer.macs / rate / 1e3 if layer.macs and rate else None
        rows.append(
            [
                escape(layer.name),
                escape(layer.kind),
                escape(layer.kernel),
                " x ".join(map(str, layer.output)),
                f"{layer.us:.0f}",
                f"{100 * layer.share:.1f}",
                "-" if layer.macs is None else f"{layer.macs / 1e6:.2f}",
                "-" if floor is None else f"{floor:.0f}",
            ]
        )
    heads = ("node", "kind", "kernel", "output", "us", "% of time", "10⁶ MACs", "floor us")
    spent = ", ".join(f"{escape(name)} {100 * share:.0f} %" for name, share in largest)
    return (
        f"<details><summary>{escape(row.label)}, the time of each node: {spent}</summary>"
        f"{table(heads, rows)}</details>"
    )


def _facts(result: BenchResult) -> str:
    machine = result.machine
    facts = {
        "machine": f"{machine.cpu}, {machine.logical_cores} logical cores, "
        f"{machine.memory_bytes / 2**30:.1f} GiB, {machine.system}",
        "versions": ", ".join(f"{k} {v}" for k, v in machine.versions.items()),
        "installed": _installed(machine.installed_bytes),
        "environment": ", ".join(f"{k}={v}" for k, v in machine.environment.items()),
        "device": "; ".join(notes(result)),
        "other load": f"{machine.foreign_load:.0%} of the machine while measured; load average "
        f"{machine.load_average_before[0]:g} before, {machine.load_average_after[0]:g} after",
        "measured": "; ".join(f"{s.name} {s.sha256}" for s in result.subjects),
        "command": " ".join(result.command) or "unknown",
        "edge-bts": f"{result.edge_bts_version}, Python {machine.python}",
    }
    rows = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f'<h2>What ran</h2><table class="facts"><tbody>{rows}</tbody></table>'


def _installed(sizes: dict[str, int]) -> str:
    if not sizes:
        return "unknown"
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:4]
    said = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in largest)
    return f"{sum(sizes.values()) / 1e6:.0f} MB on disk, of which {said}"


def _definitions() -> str:
    terms = {
        "Engine, frame": "Engine: the network alone, inside a frame's way. Frame: from the uint8 "
        "frame to mask and measures; of a peer to its thresholded map. Nothing is clipped.",
        "Age, miss": "Where frames arrive on a clock, age is from a frame's arrival to its mask, "
        "waiting included. A miss is an age over the deadline, or a frame that was skipped because "
        "a newer one had arrived.",
        "Rows": "Each in a fresh process; turns are interleaved, and one row computes at a time. "
        "Ratios are of the medians of each round, so that they hold where the machine does not "
        "keep still.",
        "At most": "Bound of a percentile of all frames to come at 99 % confidence, by the early "
        "stopping rule of MLPerf Inference; p99 takes 662 frames.",
        "Floor": "The network's MACs at the highest convolution rate that OpenVINO reached on this "
        "machine in its precision, or its weights at the memory's rate, whichever is longer.",
        "MACs, FLOPs": "Of convolutions and matrix products of one forward pass; one MAC is two "
        "FLOPs.",
        "Node": "As OpenVINO runs the network, several layers in one; its own counters, from a run "
        "of their own, which they slow down.",
        "Memory": "The most that the process held, and what it held before the network was loaded.",
        "VALID": "1000 frames or 60 s a row after a steady warm-up, no clock that fell, no "
        "throttling, at most a tenth of the machine used by others.",
    }
    entries = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in terms.items())
    return f"<h2>How the figures are defined</h2><dl>{entries}</dl>"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
