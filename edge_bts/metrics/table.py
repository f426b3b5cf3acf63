"""A report as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edge_bts.metrics.report import LESION_SIZES, Score, Summary

if TYPE_CHECKING:
    from edge_bts.evaluate import Report

__all__ = ["render_table"]

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
    + " of the image; FP rate: normals with a find."
)


def render_table(report: Report) -> Table:
    """Lay a report out: quantities down, all lesions and each category across; then the rest.

    Below come mean Dice by lesion size and the false-positive rate on images without lesion.
    Intervals are at 95 %, in brackets. Fits 80 columns with two categories.
    """
    where = " ".join(filter(None, (report.dataset, report.part)))
    table = Table(
        title=f"{where or 'evaluation'}: {len(report.rows)} images, threshold {report.threshold:g}",
        box=None,
        padding=(0, 1, 0, 0),
        min_width=78,  # or rich breaks title and caption to the width of the columns
        caption=_CAPTION,
        caption_justify="left",
    )
    table.add_column("")
    columns = _columns(report)
    for name in columns or ["images"]:
        table.add_column(name)
    _add_summaries(table, list(columns.values()))
    for name, summary in report.by_size.items():
        table.add_row(f"Dice {name} ({summary.images})", _text(summary.scores["dice"], 3))
    if report.normals is not None:
        table.add_row(f"FP rate ({report.normals.images})", _text(report.normals.rate, 3))
    return table


def _columns(report: Report) -> dict[str, Summary]:
    if report.lesions is None:
        return {}
    parts = report.by_category if len(report.by_category) > 1 else {}
    return {"all lesions": report.lesions, **parts}


def _add_summaries(table: Table, summaries: list[Summary]) -> None:
    if not summaries:
        return
    table.add_row("images", *(str(summary.images) for summary in summaries))
    for name, label, digits in _ROWS:
        if any(name in summary.scores for summary in summaries):
            scores = (summary.scores.get(name) for summary in summaries)
            table.add_row(label, *(_text(score, digits) for score in scores))
    table.add_row("missed", *(str(summary.missed) for summary in summaries), end_section=True)


def _text(score: Score | None, digits: int) -> str:
    if score is None:
        return "-"
    text = f"{score.value:.{digits}f}"
    if score.low is None or score.high is None:
        return text
    # An escaped bracket: rich reads a plain one as markup.
    return rf"{text} \[{score.low:.{digits}f}–{score.high:.{digits}f}]"
