"""What a person reads of an export: the model card, and tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edge_bts.export.parity import ParityReport
from edge_bts.manifest import INTENDED_USE
from edge_bts.models import Checkpoint

__all__ = ["LIMITS", "model_card", "parity_table"]

LIMITS = (
    "Known to work only on images like those it was trained on; another scanner, transducer, "
    "depth or population may break it without a sign.",
    "Finds regions that look like lesions; on images without one it may still mark some.",
    "Markers, text and measurement lines burnt into an image can mislead it.",
    "Golden frames in this bundle are simulated; they test the software, not the medicine.",
)

_HEADS = ("model", "compared with", "max |Δp|", "mean |Δp|", "Dice to it", "Dice to truth")


def parity_table(report: ParityReport) -> Table:
    """Return the ladder as a table."""
    table = Table(
        title="Parity",
        caption=f"{report.images} images, Dice over {report.lesions} with a lesion, source "
        f"geometry, threshold {report.threshold:.2f}",
    )
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if index < 2 else "right")
    for cells in _cells(report):
        table.add_row(*cells)
    return table


def model_card(
    name: str, precision: str, checkpoint: Checkpoint, report: dict[str, Any], parity: ParityReport
) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Args:
        name: Of the model.
        precision: fp32, fp16 or int8.
        checkpoint: What was exported.
        report: Content of ``report.json``.
        parity: The ladder.
    """
    lines = [
        f"# {name}",
        "",
        f"**{INTENDED_USE}** It has no clearance of any authority and must not guide care.",
        "",
        "## What it is",
        "",
        f"Segmentation of breast lesions in B-mode ultrasound: {checkpoint.model}, {precision}. "
        f"Input: one gray frame, letterboxed to {checkpoint.imgsz}x{checkpoint.imgsz} pixels. "
        "Output: for every pixel the probability of belonging to a lesion. It says nothing of "
        "whether a lesion is benign or malignant.",
        "",
        "## Data",
        "",
        f"Trained on {checkpoint.dataset or 'data that the checkpoint does not name'} "
        f"({checkpoint.category} images), split `{checkpoint.split_hash[:12] or 'unknown'}`. "
        f"Calibration, threshold and parity: {report['data'] or 'simulated phantoms only'}.",
        "",
        "## Operating point",
        "",
        f"A pixel is lesion from a probability of {report['threshold']['bundle']:.2f}; a frame "
        "whose presence score (mean of the highest 0.2 % of the probabilities) is below "
        f"{report['presence_threshold']['bundle']:.3f} gets an empty mask. Both were chosen on "
        "validation images.",
        "",
        "## Figures",
        "",
        *_figures(report),
        "",
        f"Parity of the exported forms on {parity.images} images "
        f"({parity.lesions} with a lesion; Dice over these):",
        "",
        "| " + " | ".join(_HEADS).replace("|Δp|", "abs Δp") + " |",
        "|---|---|---:|---:|---:|---:|",
        *("| " + " | ".join(cells) + " |" for cells in _cells(parity)),
        "",
        "Validation images chose epoch and threshold, so these figures flatter; measure on a test "
        "part of your own with `edge-bts eval`.",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
    ]
    return "\n".join(lines)


def _figures(report: dict[str, Any]) -> list[str]:
    validation = report["validation"]
    if not validation:
        return ["No images with masks were given at export."]
    lines = ["| form | mean Dice, validation, model geometry, threshold 0.5 |", "|---|---:|"]
    forms = ("float", "calibrated", "tuned")
    return [*lines, *(f"| {form} | {validation[form]['dice']:.4f} |" for form in forms)]


def _cells(report: ParityReport) -> list[tuple[str, ...]]:
    return [
        (
            row.name,
            "" if row.against == row.name else row.against,
            f"{row.max_abs:.2e}",
            f"{row.mean_abs:.2e}",
            f"{row.dice:.4f}",
            f"{row.dice_truth:.4f}",
        )
        for row in report.rows
    ]
