"""Reports as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from edge_bts.metrics.report import LESION_SIZES, Score, Summary

if TYPE_CHECKING:
    from edge_bts.evaluate import Report
    from edge_bts.metrics.agreement import Limits

__all__ = ["render_comparison", "render_table", "report_name"]

# Quantity of a summary, its label and the digits behind the point.
_ROWS = (
    ("dice", "Dice", 3),
    ("iou", "IoU", 3),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("pooled_dice", "pooled Dice", 3),
    ("hd95_px", "HD95 px", 1),
    ("assd_px", "ASSD px", 1),
    ("hd95_mm", "HD95 mm", 2),
    ("assd_mm", "ASSD mm", 2),
)

_CAPTION = (
    "Mean [95 % bootstrap interval]; lesions "
    + ", ".join(f"{name} from {low:.0%}" for name, (low, _) in LESION_SIZES.items())
    + " of the image; FP rate, sensitivity: normals, lesion images with a find; ungated: no mask "
    "emptied for lack of presence; area: predicted to true, mean and 95 % limits of agreement."
)


def report_name(report: Report) -> str:
    """Say what was evaluated: data set and part."""
    return " ".join(filter(None, (report.dataset, report.part))) or "evaluation"


def render_table(report: Report) -> Table:
    """Lay a report out: quantities down, all lesions and each category across; then the rest.

    Below come mean Dice by lesion size, the false-positive rate on images without lesion, what
    the presence score does, and the agreement of areas. Intervals are at 95 %, in brackets. Fits
    80 columns with two categories.
    """
    table = _table(
        f"{report_name(report)}: {len(report.rows)} images, {_thresholds(report)}", [report]
    )
    columns = _columns(report)
    for name in columns or ["images"]:
        table.add_column(name)
    _add_summaries(table, list(columns.values()))
    for name, summary in report.by_size.items():
        table.add_row(f"Dice {name} ({summary.images})", _text(summary.scores["dice"], 3))
    if report.normals is not None:
        table.add_row(f"FP rate ({report.normals.images})", _text(report.normals.rate, 3))
    for label, cells in _rest([report]):
        table.add_row(label, *cells)
    return table


def render_comparison(reports: Sequence[Report]) -> Table:
    """Lay the reports of one model out: quantities down, one data set a column.

    The numbers of images stand behind a figure of a part of them.
    """
    table = _table(f"{len(reports)} data sets, {_thresholds(reports[0])}", reports)
    for report in reports:
        table.add_column(escape(report_name(report)))
    _add_summaries(table, [report.lesions for report in reports])
    for parts in ([report.by_category for report in reports], [r.by_size for r in reports]):
        for name in dict.fromkeys(name for part in parts for name in part):
            table.add_row(f"Dice {name}", *(_of_part(part.get(name)) for part in parts))
    if any(report.normals for report in reports):
        rates = (
            f"{_text(r.normals.rate, 3)} ({r.normals.images})" if r.normals else "-"
            for r in reports
        )
        table.add_row("FP rate", *rates)
    for label, cells in _rest(reports):
        table.add_row(label, *cells)
    return table


def _table(title: str, reports: Sequence[Report]) -> Table:
    leaks = dict.fromkeys(report.leaks for report in reports if report.leaks)
    table = Table(
        title=escape(title),
        box=None,
        padding=(0, 1, 0, 0),
        min_width=78,  # or rich breaks title and caption to the width of the columns
        caption="\n".join([*(f"[yellow]Leaks: {escape(why)}.[/]" for why in leaks), _CAPTION]),
        caption_justify="left",
    )
    table.add_column("")
    return table


def _thresholds(report: Report) -> str:
    return f"threshold {report.threshold:g}, presence {report.presence_threshold:.3g}"


def _columns(report: Report) -> dict[str, Summary | None]:
    if report.lesions is None:
        return {}
    parts = report.by_category if len(report.by_category) > 1 else {}
    return {"all lesions": report.lesions, **parts}


def _add_summaries(table: Table, summaries: Sequence[Summary | None]) -> None:
    there = [summary for summary in summaries if summary is not None]
    if not there:
        return
    table.add_row("images", *(str(s.images) if s else "-" for s in summaries))
    for name, label, digits in _ROWS:
        if any(name in summary.scores for summary in there):
            scores = (s.scores.get(name) if s else None for s in summaries)
            table.add_row(label, *(_text(score, digits) for score in scores))
    missed = (str(s.missed) if s else "-" for s in summaries)
    table.add_row("missed", *missed, end_section=True)


def _of_part(summary: Summary | None) -> str:
    return "-" if summary is None else f"{_text(summary.scores['dice'], 3)} ({summary.images})"


def _rest(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return the rows of presence and area: label and one cell a report; none that are empty."""
    areas = [report.area for report in reports]
    rows = [
        ("sensitivity", [_text(r.presence.sensitivity, 3) for r in reports]),
        ("presence AUC", [_text(r.presence.auc, 3) for r in reports]),
        ("ungated Dice", [_text(r.presence.dice_ungated, 3) for r in reports]),
        ("area ratio", [_limits(area.ratio if area else None, 2) for area in areas]),
        ("area px²", [_limits(area.px2 if area else None, 0) for area in areas]),
        ("area mm²", [_limits(area.mm2 if area else None, 1) for area in areas]),
    ]
    return [(label, cells) for label, cells in rows if any(cell != "-" for cell in cells)]


def _limits(limits: Limits | None, digits: int) -> str:
    if limits is None:
        return "-"
    return _interval(limits.bias, limits.low, limits.high, digits, " to ")


def _text(score: Score | None, digits: int) -> str:
    return "-" if score is None else _interval(score.value, score.low, score.high, digits, "–")


def _interval(
    value: float, low: float | None, high: float | None, digits: int, between: str
) -> str:
    text = f"{value:.{digits}f}"
    if low is None or high is None:
        return text
    # An escaped bracket: rich reads a plain one as markup.
    return rf"{text} \[{low:.{digits}f}{between}{high:.{digits}f}]"
